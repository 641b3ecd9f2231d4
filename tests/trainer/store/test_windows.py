"""When labels are final."""

from models.tasks import Task, TaskSet
from trainer.store.windows import AttributionWindows

TASKS = TaskSet([Task(name="deal", window_s=100), Task(name="click", window_s=20)])


def test_windows_are_scaled_and_the_lateness_is_not() -> None:
    windows = AttributionWindows(TASKS, time_scale=10.0, lateness_s=30.0)
    assert windows.windows_ms == (10_000, 2_000)
    assert windows.hold_ms == 40_000
    assert windows.skew_ms == 5_000
    assert windows.final_before(1, 132_000) == 100_000
