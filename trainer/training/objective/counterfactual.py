"""Entire-space counterfactual losses of steps within a population (ESCM2, Wang et al. 2022).

The labels of a step are known where the step before happened, a selection that the features say
much about. Its error over all requests is estimated from those rows by their propensity, which is
the predicted probability of the step before: inverse propensity weighting, or doubly robust with an
imputed error. Both come with the product's loss of ESMM, their global risk (eq. 13).
"""

from typing import Final

import torch
from torch import Tensor

from models.nets.config import TeacherConfig
from models.nets.teacher import OutputNet, build_teacher
from trainer.training.objective.entire_space import product_loss
from trainer.training.objective.objective import Batch, Objective, cross_entropy

IMPUTATION: Final = TeacherConfig("parallel-dnn", embedding=4, expert=16, tower=8)
"""Sizes of the net that imputes errors."""
LEAST_PROPENSITY: Final = 0.03
"""Propensities below count as this much, which bounds the variance."""


class InversePropensity(Objective):
    """Errors of the rows with the step before, weighted by the inverse propensity (eq. 8)."""

    def forward(self, batch: Batch) -> Tensor:
        """Losses, (T,)."""
        losses = list(batch.losses_T.unbind())
        for task in range(len(losses)):
            population = batch.funnel.population(task)
            if population is not None:
                losses[task] = self.risk(batch, population, task) + product_loss(batch, task)
        return torch.stack(losses)

    def risk(self, batch: Batch, population: int, task: int) -> Tensor:
        """The task's error over all requests, a scalar."""
        happened_B, known_B, errors_B, propensity_B = selection(batch, population, task)
        return batch.mean(happened_B * errors_B / propensity_B, known_B)


class DoublyRobust(InversePropensity):
    """The imputed error of all rows, and its correction where the true one is known (eq. 10).

    The imputation is a net of its own, trained with the other to the squared deviation (eq. 11).

    Args:
        net: The net that is fitted.
        tasks: T.
    """

    def __init__(self, net: OutputNet, tasks: int) -> None:
        super().__init__(net, tasks)
        self.imputation = build_teacher(net.layout, tasks, IMPUTATION)

    def risk(self, batch: Batch, population: int, task: int) -> Tensor:
        """The task's error over all requests, and the imputation's loss, a scalar."""
        happened_B, known_B, errors_B, propensity_B = selection(batch, population, task)
        imputed_B = torch.nn.functional.softplus(self.imputation(batch.ids_BC)[:, task])
        deviation_B = errors_B - imputed_B
        robust_B = imputed_B + happened_B * deviation_B / propensity_B
        fit_B = happened_B * deviation_B.square() / propensity_B
        return batch.mean(robust_B + fit_B, known_B)


def selection(batch: Batch, population: int, task: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whether the step before happened, whether that and the label are known, errors, propensities.

    Each of shape (B,); the propensity passes no gradient.
    """
    happened_B, target_B = batch.labels_BT[:, population], batch.targets_BT[:, task]
    known_B = (happened_B == 0) | ((happened_B == 1) & ~target_B.isnan())
    errors_B = cross_entropy(batch.probabilities_BT[:, task], target_B.nan_to_num())
    propensity_B = batch.on_all_BT[:, population].detach().clamp(min=LEAST_PROPENSITY)
    return happened_B.nan_to_num(), known_B, errors_B, propensity_B
