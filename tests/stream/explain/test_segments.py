"""Training rows like a request: nested segments and the nearest rows, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.examples import Examples
from models.tasks import TaskSet
from stream.explain.segments import NEAREST, count_segments
from tests.tiny_artifact import TASKS

TASK_SET = TaskSet(TASKS)
PLAYERS = [("one", [0]), ("two", [1, 2])]


def examples(rows: list[list[int]], labels: list[list[float]]) -> Examples:
    count = len(rows)
    return Examples(
        ts_N=np.arange(count),
        features_NC=np.array(rows, np.int32),
        labels_NT=np.array(labels, np.float32),
        propensity_N=np.ones(count),
        weight_N=np.full(count, 2.0, np.float32),
    )


def test_segments_narrow_in_the_order_of_what_moved_the_score() -> None:
    """Rows by weight; labels only on the task's population, open ones left out."""
    nan = float("nan")
    batch = examples(
        [[1, 5, 6], [1, 5, 7], [2, 5, 6], [3, 8, 9]],
        [[1, 1], [1, 0], [0, 0], [nan, nan]],
    )
    data = count_segments([batch], TASK_SET, np.array([1, 5, 6], np.int32), PLAYERS, [1, 0])
    assert data.rows == 8.0
    two, both = data.segments
    assert (two.of, two.rows) == (("two",), 4.0)
    assert two.labels == {"click": 4.0, "online": 2.0}
    assert two.positives == {"click": 2.0, "online": 2.0}
    assert (both.of, both.rows, both.positives["online"]) == (("two", "one"), 2.0, 2.0)
    assert data.nearest is not None
    assert (data.nearest.rows, data.nearest.similarity) == (8.0, 0.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=400), st.integers(1, 90))
def test_nearest_rows_do_not_depend_on_how_the_data_is_cut(ids: list[int], size: int) -> None:
    """The same rows, in one batch or many."""
    rows, labels = [[i, i, i % 2] for i in ids], [[float(i == 1), 0.0] for i in ids]
    target = np.array([1, 1, 1], np.int32)
    whole = count_segments([examples(rows, labels)], TASK_SET, target, PLAYERS, [0, 1])
    parts = [
        examples(rows[at : at + size], labels[at : at + size]) for at in range(0, len(rows), size)
    ]
    assert count_segments(parts, TASK_SET, target, PLAYERS, [0, 1]) == whole
    equal = sum(i == 1 for i in ids)
    assert whole.segments[0].rows == 2.0 * equal
    assert whole.nearest is not None
    assert whole.nearest.positives["click"] == 2.0 * min(equal, NEAREST)


def test_no_rows_are_no_nearest_rows() -> None:
    """An empty store says so."""
    data = count_segments([], TASK_SET, np.array([1, 5, 6], np.int32), PLAYERS, [0, 1])
    assert (data.rows, data.nearest) == (0.0, None)
    assert [segment.rows for segment in data.segments] == [0.0, 0.0]
    assert data.segments[0].labels == pytest.approx({"click": 0.0, "online": 0.0})
