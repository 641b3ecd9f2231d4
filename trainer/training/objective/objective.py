"""The interface of objectives: what the losses of a batch are, one per task.

An objective starts from the losses of the labels on each task's own population (`Batch.losses_T`),
which a delay method may have corrected, and replaces some or adds to them. Terms that compare tasks
need final labels, and count rows that have them only.

B rows of a batch, T tasks, O outputs per task.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from models.choices import load_choice
from models.nets.heads import Head
from models.nets.teacher import OutputNet
from trainer.training.config import AUTO, MASKED, OBJECTIVE_OF_KIND, OBJECTIVES
from trainer.training.objective.funnel import Funnel

LEAST: Final = 1e-6
"""Least probability in a logarithm."""


@dataclass(frozen=True)
class Batch:
    """A batch, and what the net makes of it.

    Attributes:
        ids_BC: Feature ids.
        outputs_BTO: The net's outputs.
        targets_BT: Final labels; NaN where not known, or outside the task's population.
        weights_B: Number of requests that each row represents; None for one each.
        losses_T: Losses of the labels, each on its task's own population.
        head: Interpretation of the outputs.
        funnel: Order of the tasks.
    """

    ids_BC: Tensor
    outputs_BTO: Tensor
    targets_BT: Tensor
    weights_B: Tensor | None
    losses_T: Tensor
    head: Head
    funnel: Funnel

    @cached_property
    def probabilities_BT(self) -> Tensor:
        """Probabilities, each on its task's population."""
        return self.head.moments(self.outputs_BTO.float())[0]

    @cached_property
    def on_all_BT(self) -> Tensor:
        """Probabilities over all requests."""
        return self.funnel.on_all(self.probabilities_BT)

    @cached_property
    def labels_BT(self) -> Tensor:
        """Labels over all requests; NaN where not known."""
        return self.funnel.labels_on_all(self.targets_BT)

    def mean(self, values_B: Tensor, known_B: Tensor) -> Tensor:
        """Weighted mean of the known values, a scalar; 0 without any."""
        counts_B = known_B.to(values_B.dtype)
        if self.weights_B is not None:
            counts_B = counts_B * self.weights_B
        values_B = torch.where(known_B, values_B, torch.zeros_like(values_B))
        return (values_B * counts_B).sum() / counts_B.sum().clamp(min=1)


class Objective(nn.Module):
    """Combines labels and outputs into a loss per task; its weights are trained with the net.

    Args:
        net: The net that is fitted.
        tasks: T.
    """

    def __init__(self, net: OutputNet, tasks: int) -> None:
        super().__init__()
        del net, tasks

    def forward(self, batch: Batch) -> Tensor:
        """Losses, (T,)."""
        raise NotImplementedError


class Masked(Objective):
    """The losses of the labels, each on its task's own population."""

    def forward(self, batch: Batch) -> Tensor:
        """Losses, (T,)."""
        return batch.losses_T


def make_objective(name: str, net: OutputNet, tasks: int) -> Objective:
    """The objective of this name.

    Args:
        name: A name of ``OBJECTIVES``, or ``auto`` for that of the paper of the net's kind.
        net: The net that is fitted.
        tasks: T.
    """
    chosen = OBJECTIVE_OF_KIND.get(net.kind, MASKED) if name == AUTO else name
    made: Objective = load_choice(OBJECTIVES, chosen)(net, tasks)
    return made


def cross_entropy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy in nats of probabilities, element by element; labels without NaN."""
    p = probabilities.clamp(LEAST, 1 - LEAST)
    return -(labels * p.log() + (1 - labels) * (1 - p).log())
