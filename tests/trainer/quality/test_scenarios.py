"""Live quality by scenario, from arrays."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from stream.policy.scenario_index import ScenarioIndex, scenario_row
from tests.trainer.quality.test_measure import TASKS, N, world
from trainer.quality.figures import ScenarioQuality
from trainer.quality.measure import measure_tasks
from trainer.quality.scenarios import MOST, measure_scenarios

VALUES = {"click": 1.0, "deal": 20.0}


def measured(
    scenario_N: npt.NDArray[np.int32], *names: str, wrong: str | None = None
) -> dict[str, ScenarioQuality]:
    """Figures of requests of these scenarios; the scores of one are too high by a half."""
    rows, scores_NT = world(1)
    if wrong is not None:
        scores_NT[scenario_N == scenario_row(wrong)] *= 1.5
    rows = replace(rows, scenario_N=scenario_N)
    scores_NT = np.clip(scores_NT, 0, 1)
    return measure_scenarios(rows, scores_NT, TASKS, -1, VALUES, ScenarioIndex(names))


def spread(*names: str) -> npt.NDArray[np.int32]:
    """Requests that take turns in these scenarios."""
    return np.resize([scenario_row(name) for name in names], N).astype(np.int32)


def test_a_scenario_that_is_off_is_seen_and_no_other() -> None:
    """All together are off by a sixth; apart, one is off by a third and two are right."""
    found = measured(spread("app", "web", "tv"), "app", "web", wrong="app")
    assert set(found) == {"*", "app", "web"}
    click = {name: quality.tasks["click"].calibration for name, quality in found.items()}
    assert click["app"] == pytest.approx(2 / 3, abs=0.04)
    assert click["web"] == pytest.approx(1.0, abs=0.05)
    assert click["*"] == pytest.approx(1.0, abs=0.05)


def test_shares_and_values_add_up() -> None:
    """Shares add up to 1, and the rows of a task to those of all."""
    rows, scores_NT = world(1)
    scenario_N = spread("app", "web", "web", "tv")
    found = measured(scenario_N, "app", "web")
    assert sum(quality.share for quality in found.values()) == pytest.approx(1.0)
    assert found["web"].share == pytest.approx(0.5)
    every = measure_tasks(rows, scores_NT, TASKS, -1)
    for task, quality in every.items():
        assert sum(each.tasks[task].rows for each in found.values()) == quality.rows
    click = rows.labels_NT[scenario_N == scenario_row("web"), 0].mean()
    assert click < found["web"].value < click + 20


def test_the_number_of_scenarios_is_bounded() -> None:
    """The largest named ones have figures; the others are counted with `*`."""
    names = [f"s{n}" for n in range(MOST + 5)]
    rng = np.random.default_rng(1)
    at_N = np.minimum(rng.integers(0, 2 * len(names), N), len(names) - 1)
    rows_S = np.array([scenario_row(name) for name in names], np.int32)
    found = measured(rows_S[at_N], *names)
    assert len(found) == MOST + 1
    assert names[-1] in found
    sizes = {name: (at_N == number).mean() for number, name in enumerate(names)}
    smallest = min(found[name].share for name in found if name != "*")
    assert all(sizes[name] <= smallest for name in set(names) - set(found))


def test_without_names_there_is_nothing_to_tell_apart() -> None:
    """And a named scenario without requests has no figures."""
    assert measured(spread("app")) == {}
    assert set(measured(spread("app"), "tv")) == {"*"}
