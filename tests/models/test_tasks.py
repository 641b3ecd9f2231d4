import numpy as np
import pytest

from models.tasks import DEFAULT_TASKS, Task, TaskSet


def test_scores_on_all_requests_follow_the_funnel() -> None:
    """A score learned among those that reached a task is multiplied by that task's score."""
    scores_NT = np.array([[0.5, 0.4, 0.1, 0.01]], np.float32)
    assert DEFAULT_TASKS.on_all_requests(scores_NT)[0].tolist() == pytest.approx(
        [0.5, 0.2, 0.1, 0.01]
    )
    assert scores_NT[0, 1] == np.float32(0.4)


def test_chained_populations_multiply_through() -> None:
    """Populations may chain over several steps."""
    tasks = TaskSet(
        [
            Task(name="a", window_s=1),
            Task(name="b", population="a", window_s=1),
            Task(name="c", population="b", window_s=1),
        ]
    )
    out_NT = tasks.on_all_requests(np.array([[0.5, 0.5, 0.5]], np.float32))
    assert out_NT[0].tolist() == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "at least one task"),
        ([Task(name="a", window_s=1), Task(name="a", window_s=2)], "'a' is taken"),
        (
            [Task(name="a", population="b", window_s=1), Task(name="b", window_s=1)],
            "'b' is neither",
        ),
    ],
)
def test_bad_task_sets_are_refused(tasks: list[Task], message: str) -> None:
    """No task, a doubled name and an unknown population are errors."""
    with pytest.raises(ValueError, match=message):
        TaskSet(tasks)
