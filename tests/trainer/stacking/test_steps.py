import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.stacking.steps import Steps
from trainer.training.objective.funnel import Funnel

TASKS = TaskSet(
    [
        Task(name="click", window_s=1),
        Task(name="online", population="click", window_s=1),
        Task(name="cart", window_s=1),
        Task(name="deal", window_s=1),
    ]
)
FUNNEL = Funnel.of(TASKS)
ROWS = 20_000


def labels(seed: int = 0) -> np.ndarray:
    """Labels of nested events, online among the clicked rows only."""
    happens_NT = np.random.default_rng(seed).random((ROWS, 4)) < [0.6, 0.5, 0.4, 0.3]
    reached_NT = np.logical_and.accumulate(happens_NT, axis=1).astype(np.float32)
    reached_NT[reached_NT[:, 0] == 0, 1] = np.nan
    return reached_NT


def test_nested_events_are_a_chain() -> None:
    """Every task starts from the nearest one that contains it."""
    steps = Steps.of(labels(), FUNNEL)
    assert steps.parents == (None, 0, 1, 2)
    rates_T = np.nanmean(steps.targets(labels()), axis=0)
    np.testing.assert_allclose(rates_T, [0.6, 0.5, 0.4, 0.3], atol=0.03)


def test_scores_of_the_steps_are_those_of_the_tasks() -> None:
    """The product down the funnel, but on the own population where a task has one."""
    steps_NT = np.array([[0.6, 0.5, 0.4, 0.3]], np.float32)
    scores_NT = Steps.of(labels(), FUNNEL).scores(steps_NT)
    np.testing.assert_allclose(scores_NT, [[0.6, 0.5, 0.12, 0.036]], rtol=1e-6)


def test_a_task_that_is_not_nested_starts_from_all_requests() -> None:
    """Carts without the visit before, and deals that others' carts lead to, are no chain."""
    labels_NT = labels()
    labels_NT[np.random.default_rng(1).random(ROWS) < 0.05, 2] = 1
    steps = Steps.of(labels_NT, FUNNEL)
    assert steps.parents == (None, 0, None, 2)
    assert np.isfinite(steps.targets(labels_NT)[:, 2]).all()
    np.testing.assert_allclose(
        steps.scores(np.full((1, 4), 0.5, np.float32)), [[0.5, 0.5, 0.5, 0.25]]
    )


@pytest.mark.parametrize("task", [2, 3])
def test_few_events_show_nothing(task: int) -> None:
    """Whether a handful of events is nested may be chance."""
    labels_NT = labels()
    happened_K = np.flatnonzero(labels_NT[:, task] == 1)
    labels_NT[happened_K[20:], task] = 0
    assert Steps.of(labels_NT, FUNNEL).parents[task] is None


def test_unknown_labels_do_not_deny_that_events_are_nested() -> None:
    """Where the label before is not final yet, nothing is known."""
    labels_NT = labels()
    labels_NT[::3, 2] = np.nan
    steps = Steps.of(labels_NT, FUNNEL)
    assert steps.parents == (None, 0, 1, 2)
    assert np.isnan(steps.targets(labels_NT)[::3, 3]).all()
