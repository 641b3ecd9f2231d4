"""Gradient surgery between tasks (PCGrad, Yu et al., NeurIPS 2020).

T tasks, P weights that tasks share.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def without_conflicts(losses_T: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
    """A scalar of the value of the losses' sum, whose gradient is that of PCGrad (Algorithm 1).

    Each task's gradient loses its component along every other task's gradient that it conflicts
    with; their sum is the gradient. The order of the others is random there; here it is that of the
    tasks after the own one, so that a fit is reproducible without draws.

    Args:
        losses_T: Losses by task.
        weights: The weights; those that only one task reaches are unaffected.
    """
    trained = [weight for weight in weights if weight.requires_grad]
    gradients = []
    for loss in losses_T:
        found = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
        gradients.append(
            torch.cat(
                [
                    (torch.zeros_like(weight) if part is None else part).flatten()
                    for weight, part in zip(trained, found, strict=True)
                ]
            )
        )
    gradients_TP = torch.stack(gradients)
    surgery_P = torch.stack(
        [_projected(gradients_TP, task) for task in range(len(gradients_TP))]
    ).sum(0)
    parts = torch.split(surgery_P, [weight.numel() for weight in trained])
    linear = torch.stack(
        [(weight.flatten() * part).sum() for weight, part in zip(trained, parts, strict=True)]
    ).sum()
    return linear + (losses_T.sum() - linear).detach()


def _projected(gradients_TP: Tensor, task: int) -> Tensor:
    own_P = gradients_TP[task]
    for step in range(1, len(gradients_TP)):
        other_P = gradients_TP[(task + step) % len(gradients_TP)]
        inner = own_P @ other_P
        if inner < 0:
            own_P = own_P - inner / other_P.square().sum().clamp(min=1e-30) * other_P
    return own_P
