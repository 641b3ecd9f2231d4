"""Multi-task losses with masks.

A target of NaN is masked: its label is not final yet, or its row is outside the task's population
(see :meth:`models.data.examples.Examples.targets`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def masked_mean(
    loss: Callable[[Tensor], Tensor], targets_NT: Tensor, weights_N: Tensor | None = None
) -> Tensor:
    """Mean loss per task over its unmasked rows, shape (T,).

    Args:
        loss: Computes losses (N, T) from targets without NaN.
        targets_NT: Labels or soft labels in [0, 1]; NaN where masked.
        weights_N: Number of requests that each row represents, 1 or more; None for 1.

    Returns:
        The losses. Masked entries have zero gradient; a task without unmasked rows has loss 0.
    """
    known_NT = ~targets_NT.isnan()
    losses_NT = loss(torch.where(known_NT, targets_NT, torch.zeros_like(targets_NT)))
    losses_NT = torch.where(known_NT, losses_NT, torch.zeros_like(losses_NT))
    if weights_N is None:
        return losses_NT.sum(0) / known_NT.sum(0).clamp(min=1)
    known_NT = known_NT * weights_N.unsqueeze(1)
    return (losses_NT * known_NT).sum(0) / known_NT.sum(0).clamp(min=1)


def bce_by_task(logits_NT: Tensor, targets_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Binary cross-entropy per task over its unmasked rows, in nats, shape (T,)."""
    return masked_mean(
        lambda labels_NT: functional.binary_cross_entropy_with_logits(
            logits_NT, labels_NT, reduction="none"
        ),
        targets_NT,
        weights_N,
    )


def masked_bce(logits_NT: Tensor, targets_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Binary cross-entropy per task over its unmasked rows, summed over the tasks: a scalar."""
    return bce_by_task(logits_NT, targets_NT, weights_N).sum()


def row_mean(losses_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Weighted mean over the rows, shape (T,); None weighs all alike."""
    if weights_N is None:
        return losses_NT.mean(0)
    return (losses_NT * weights_N.unsqueeze(1)).sum(0) / weights_N.sum()


class TaskWeights(nn.Module):
    """Fixed weights of the tasks' losses.

    Args:
        weights_T: One weight per task.
    """

    weights_T: Tensor

    def __init__(self, weights_T: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights_T", weights_T)

    def forward(self, losses_T: Tensor) -> Tensor:
        """The weighted sum."""
        return (losses_T * self.weights_T).sum()


class LearnedTaskWeights(nn.Module):
    """Weights from each task's uncertainty, learned with the net (Kendall, Gal, Cipolla 2018).

    Their equation 10 for classification, L / sigma^2 + log sigma, with s = log sigma^2 learned: a
    task whose loss stays high weighs less, and s / 2 keeps the weights from vanishing.

    Args:
        tasks: T.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.log_variance_T = nn.Parameter(torch.zeros(tasks))

    def forward(self, losses_T: Tensor) -> Tensor:
        """The weighted sum and its regulariser."""
        return ((-self.log_variance_T).exp() * losses_T + self.log_variance_T / 2).sum()


def poisson_deviance(
    predicted_NT: Tensor, targets_NT: Tensor, weights_N: Tensor | None = None
) -> Tensor:
    """Loss for predicting the expectation of a positive quantity, summed over the tasks.

    u - y log u is minimal where u is the mean of y, and it scales with the mean of the target as
    cross-entropy does: with the uncertainty scaled to the labels' mean (DAUM, section III-E)
    neither loss dominates the other.

    Args:
        predicted_NT: Positive predictions u.
        targets_NT: Targets y >= 0.
        weights_N: Weights of the rows; None if all are equal.
    """
    floor = torch.finfo(predicted_NT.dtype).tiny
    losses_NT = predicted_NT - targets_NT * predicted_NT.clamp(min=floor).log()
    return row_mean(losses_NT, weights_N).sum()
