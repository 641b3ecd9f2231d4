"""Live quality of each named scenario, from arrays; pure.

Examples carry the hash of their request's scenario. Requests of scenarios without settings of their
own, and those beyond the :data:`MOST` largest named ones, are together ``*``, so the number of
figures is bounded whatever requests say.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.settings.policy import EVERYTHING
from models.tasks import TaskSet
from stream.policy.scenario_index import ScenarioIndex
from trainer.quality.figures import ScenarioQuality
from trainer.quality.measure import LiveRows, measure_reasons, measure_tasks

MOST: Final = 20
"""Scenarios with figures of their own: the named ones with the most requests that passed."""


def measure_scenarios(
    rows: LiveRows,
    scores_NT: npt.NDArray[np.floating[Any]],
    tasks: TaskSet,
    learned_until_ms: int,
    values: Mapping[str, float],
    index: ScenarioIndex,
) -> dict[str, ScenarioQuality]:
    """Quality by scenario; empty if none is named.

    Args:
        rows: N requests that passed.
        scores_NT: The model's probabilities, each on the task's own population.
        tasks: The tasks.
        learned_until_ms: Time of the newest request that the model learned from.
        values: Value of one positive of each task.
        index: The named scenarios.
    """
    if not index.names:
        return {}
    number_N = index.numbers(rows.scenario_N)
    weights_S = np.bincount(number_N, rows.weight_N, minlength=len(index.names) + 1)
    largest = 1 + np.argsort(-weights_S[1:], kind="stable")[:MOST]
    shown = {int(each): index.names[each - 1] for each in largest if weights_S[each] > 0}
    number_N = np.where(np.isin(number_N, list(shown)), number_N, 0)
    found = {}
    for number, name in sorted({0: EVERYTHING, **shown}.items()):
        of_it_N = number_N == number
        if not of_it_N.any():
            continue
        part = rows.take(of_it_N)
        passed = measure_reasons(part, tasks, values).values()
        found[name] = ScenarioQuality(
            share=float(part.weight_N.sum() / rows.weight_N.sum()),
            value=sum(reason.share * reason.value for reason in passed),
            tasks=measure_tasks(part, scores_NT[of_it_N], tasks, learned_until_ms),
        )
    return found
