"""What a net's outputs mean: how they start and what their loss is. First the plain logit.

N requests, T tasks, O outputs per task.
"""

from typing import Protocol

from torch import Tensor

from models.nets.losses import bce_by_task


class Head(Protocol):
    """The meaning of a net's O outputs per task."""

    size: int
    """O."""

    def start(self, rates_T: Tensor) -> Tensor:
        """Outputs (T, O) that say the base rates."""

    def losses(self, outputs_NTO: Tensor, targets_NT: Tensor, annealing: float) -> Tensor:
        """Loss per task, (T,).

        Args:
            outputs_NTO: The net's outputs.
            targets_NT: Labels; NaN where masked.
            annealing: From 0 at the start of training to 1.
        """


class LogitHead:
    """One output: the logit; its loss is the cross-entropy."""

    size = 1

    def start(self, rates_T: Tensor) -> Tensor:
        """The base rates' logits."""
        return rates_T.logit().unsqueeze(1)

    def losses(self, outputs_NTO: Tensor, targets_NT: Tensor, annealing: float) -> Tensor:  # noqa: ARG002
        """Cross-entropy."""
        return bce_by_task(outputs_NTO[:, :, 0], targets_NT)


LOGIT = LogitHead()
