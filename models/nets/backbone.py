"""The interface of the kinds of teacher: from an embedded request to what each task's tower reads.

N requests, F features, D embedding width, I = F * D, T tasks, H expert width, S scenarios.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from models.choices import load_choice
from models.nets.config import EXPERTS, TeacherConfig

MAX_SCENARIOS = 64
"""Most scenarios, combinations of the values of the features that say it: some nets have weights of
their own for each of them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a backbone is made for.

    Attributes:
        features: F.
        tasks: T.
        scenarios: Number of values of each scenario feature, from the coarsest to the finest; empty
            without scenarios.
    """

    features: int
    tasks: int
    scenarios: tuple[int, ...] = ()


class Backbone(nn.Module):
    """Maps embedded requests to the input of each task's tower.

    Args:
        shape: What it is made for.
        config: Kind and sizes.

    Attributes:
        penalty: Auxiliary loss of the last batch, a scalar; 0 unless a kind sets it in training.
    """

    embeddings_per_task: ClassVar[bool] = False
    """Whether tasks share no embedding: requests are then (T, N, I), embedded once per task."""

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__()
        self.shape = shape
        self.config = config
        self.penalty: Tensor | float = 0.0

    def train(self, mode: bool = True) -> Self:
        """As torch's; the last batch's penalty, whose graph would keep a net from copies, goes."""
        self.penalty = 0.0
        return super().train(mode)

    @property
    def inputs(self) -> int:
        """I, the width of an embedded request."""
        return self.shape.features * self.config.embedding

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H).

        Args:
            x_NI: Embedded requests.
            scenarios_NL: Number of each request's scenario, by scenario feature; (N, 0) without.
        """
        raise NotImplementedError

    def make_experts(self, count: int) -> nn.Module:
        """Experts that read embedded requests: (N, I), or (E, N, I), to (E, N, H)."""
        experts: nn.Module = load_choice(EXPERTS, self.config.experts)(
            count, self.shape.features, self.config
        )
        return experts


class Scenarios(nn.Module):
    """Numbers the combinations of scenario features.

    Args:
        counts: Number of values of each scenario feature.
    """

    strides_L: Tensor

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.count = prod(counts)
        strides = [prod(counts[place + 1 :]) for place in range(len(counts))]
        self.register_buffer("strides_L", torch.tensor(strides, dtype=torch.int64))

    def forward(self, scenarios_NL: Tensor) -> Tensor:
        """Number of each request's combination, (N,), from 0 to ``count`` - 1."""
        numbers_N: Tensor = (scenarios_NL * self.strides_L).sum(1)
        return numbers_N


def of_scenario(values_SNH: Tensor, scenarios_N: Tensor) -> Tensor:
    """The values of each request's own scenario, (N, H)."""
    at_1NH = scenarios_N.view(1, -1, 1).expand(1, -1, values_SNH.shape[2])
    return values_SNH.gather(0, at_1NH).squeeze(0)
