"""When outcomes count and labels mature."""

from hypothesis import given
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from stream.feedback.windows import AttributionWindows

TASKS = TaskSet([Task(name="deal", window_s=100), Task(name="click", window_s=20)])
WINDOWS = AttributionWindows(TASKS, time_scale=10.0, lateness_s=30.0)
DEAL, CLICK = 0, 1


def test_a_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    """An event at the time of the request does not count, one at the end of the window does."""
    assert [WINDOWS.contains(CLICK, 50, ts) for ts in (49, 50, 51, 2_050, 2_051)] == [
        *(False, False, True),
        *(True, False),
    ]


def test_a_window_closes_after_the_lateness() -> None:
    """Not before the first request, and not at the last millisecond, but after it."""
    assert not WINDOWS.closed(CLICK, 50, None)
    assert not WINDOWS.closed(CLICK, 50, 50 + 2_000 + 30_000)
    assert WINDOWS.closed(CLICK, 50, 50 + 2_000 + 30_001)
    assert not WINDOWS.closed(DEAL, 50, 50 + 2_000 + 30_001)
    assert WINDOWS.hold_ms == 40_000


@given(st.integers(0, 10**13), st.integers(0, 60_000))
def test_the_next_maturity_is_the_earliest_window_that_has_not_closed(ts: int, age: int) -> None:
    """One millisecond later a window has closed that had not before."""
    due = WINDOWS.next_maturity(ts, ts + age)
    open_before = [task for task in (DEAL, CLICK) if not WINDOWS.closed(task, ts, ts + age)]
    assert (due is None) == (not open_before)
    if due is not None:
        open_then = [task for task in (DEAL, CLICK) if not WINDOWS.closed(task, ts, due)]
        open_after = [task for task in (DEAL, CLICK) if not WINDOWS.closed(task, ts, due + 1)]
        assert open_then == open_before
        assert len(open_after) == len(open_before) - 1
