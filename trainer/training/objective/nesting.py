"""Terms that hold a funnel together: no step is more probable than the one before it."""

from typing import Final

import torch
from torch import Tensor

from trainer.training.objective.objective import Batch, Objective

CALIBRATOR: Final = 0.6
"""Weight of AITM's calibrator; the alpha that its section 4.5 finds best."""


class Nested(Objective):
    """Adds a term for each task that has one before it."""

    def forward(self, batch: Batch) -> Tensor:
        """Losses, (T,)."""
        losses = list(batch.losses_T.unbind())
        for task in range(len(losses)):
            before = batch.funnel.before(task)
            if before is not None:
                losses[task] = losses[task] + self.term(batch, before, task)
        return torch.stack(losses)

    def term(self, batch: Batch, before: int, task: int) -> Tensor:
        """The term of a task and the one before it, a scalar."""
        raise NotImplementedError


class Dependence(Nested):
    """Squared error of p(before) - p(task), whose label is the difference of labels (APEM).

    Equation 21 with the mean squared error of equation 23.
    """

    def term(self, batch: Batch, before: int, task: int) -> Tensor:
        """Mean squared error, over rows where both labels are known."""
        labels_B = batch.labels_BT[:, before] - batch.labels_BT[:, task]
        predicted_B = batch.on_all_BT[:, before] - batch.on_all_BT[:, task]
        errors_B = (labels_B.nan_to_num() - predicted_B).square()
        return batch.mean(errors_B, ~labels_B.isnan())


class Calibrator(Nested):
    """AITM's behavioural expectation calibrator: max(p(task) - p(before), 0) (their eq. 7)."""

    def term(self, batch: Batch, before: int, task: int) -> Tensor:
        """Mean excess; it needs no labels."""
        excess_B = (batch.on_all_BT[:, task] - batch.on_all_BT[:, before]).relu()
        return CALIBRATOR * batch.mean(excess_B, torch.ones_like(excess_B, dtype=torch.bool))
