"""Groups the requests of a batch by scenario, in their order, and computes their rewards."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.policy.scenario import Scenario
from stream.policy.scenario_index import ScenarioIndex
from stream.policy.value.valuation import Valuation

Floats32 = npt.NDArray[np.float32]
Rows = list[tuple[Scenario, Any]]
"""Scenarios that have requests, each with the index of its requests."""


class ScenariosByRow:
    """Splits requests by the rows of their scenario feature.

    Args:
        default: The scenario of all requests whose scenario has no name.
        named: The named scenarios.

    Attributes:
        named: The named scenarios.
    """

    def __init__(self, default: Scenario, named: Sequence[Scenario]) -> None:
        self.named = tuple(named)
        self._numbered = (default, *named)
        self._index = ScenarioIndex(scenario.name for scenario in named)

    def split(self, scenarios_N: npt.NDArray[np.int32] | None) -> Rows:
        """The scenarios that have requests, each with the index of its requests.

        Args:
            scenarios_N: Rows of the scenario feature; None if there is none.
        """
        if scenarios_N is None or not self.named:
            return [(self._numbered[0], slice(None))]
        if not len(scenarios_N):
            return []
        number_N = self._index.numbers(scenarios_N)
        order_N = np.argsort(number_N, kind="stable")
        first_K = np.flatnonzero(np.diff(number_N[order_N], prepend=-1))
        ends = [*first_K[1:].tolist(), len(order_N)]
        return [
            (self._numbered[number_N[order_N[first]]], order_N[first:end])
            for first, end in zip(first_K.tolist(), ends, strict=True)
        ]


def compute_rewards(
    rows: Rows, scores_NT: Floats32, uncertainties_NT: Floats32
) -> tuple[Floats32, Floats32]:
    """Rewards, and uncertainties to rank by; once for all scenarios with the same valuation.

    Args:
        rows: Result of :meth:`ScenariosByRow.split`.
        scores_NT: Probabilities, each on its task's own population.
        uncertainties_NT: Standard deviations of those probabilities.

    Returns:
        Two arrays of shape (N,).
    """
    groups: dict[int, tuple[Valuation, list[Any]]] = {}
    for scenario, at in rows:
        groups.setdefault(id(scenario.valuation), (scenario.valuation, []))[1].append(at)
    if len(groups) == 1:
        return rows[0][0].valuation(scores_NT, uncertainties_NT)
    reward_N = np.empty(len(scores_NT), np.float32)
    uncertainty_N = np.empty(len(scores_NT), np.float32)
    for valuation, parts in groups.values():
        at = np.concatenate(parts)
        reward_N[at], uncertainty_N[at] = valuation(scores_NT[at], uncertainties_NT[at])
    return reward_N, uncertainty_N
