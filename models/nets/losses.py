"""Multi-task losses with masks.

A target that is NaN does not count: its label is not mature yet, or its row lies outside the
task's population (:meth:`models.examples.Examples.targets` puts both there).
"""

import torch
from torch import Tensor
from torch.nn import functional


def masked_bce(logits_NT: Tensor, targets_NT: Tensor, weights_T: Tensor | None = None) -> Tensor:
    """Binary cross-entropy per task over its unmasked rows, then weighted over the tasks.

    Args:
        logits_NT: Predictions.
        targets_NT: Labels or soft labels in [0, 1]; NaN where masked.
        weights_T: Weight per task; 1 each by default.

    Returns:
        A scalar, nats. Masked entries have exactly zero gradient; a task without unmasked rows
        contributes nothing.
    """
    known_NT = ~targets_NT.isnan()
    targets_NT = torch.where(known_NT, targets_NT, torch.zeros_like(targets_NT))
    losses_NT = functional.binary_cross_entropy_with_logits(logits_NT, targets_NT, reduction="none")
    losses_NT = torch.where(known_NT, losses_NT, torch.zeros_like(losses_NT))
    losses_T = losses_NT.sum(0) / known_NT.sum(0).clamp(min=1)
    return (losses_T if weights_T is None else losses_T * weights_T).sum()


def poisson_deviance(predicted_NT: Tensor, targets_NT: Tensor) -> Tensor:
    """Loss of a positive quantity whose expectation is wanted, summed over the tasks.

    u - y log u has its minimum where u is the mean of y, and its size follows the target's mean as
    that of the cross-entropy does: with the uncertainty brought to the labels' mean (DAUM, section
    III-E) neither loss drowns the other.

    Args:
        predicted_NT: Positive predictions u.
        targets_NT: Targets y >= 0.
    """
    floor = torch.finfo(predicted_NT.dtype).tiny
    losses_NT = predicted_NT - targets_NT * predicted_NT.clamp(min=floor).log()
    return losses_NT.mean(0).sum()
