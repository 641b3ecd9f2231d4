"""Attribution windows of the tasks: when an outcome counts, and when a label is final."""

from models.bounds import MAX_SKEW_MS
from models.tasks import TaskSet

#: One request advances stream time by at most this part of the longest window, so that a wrong
#: timestamp cannot close the windows of others.
SKEW_PART = 8


class AttributionWindows:
    """The windows of all tasks, in event time.

    The window of task ``t`` after a request at time ``ts`` is ``(ts, ts + window_t]``. It closes
    when the watermark is later than ``ts + window_t + lateness``.

    Args:
        tasks: Tasks and their windows.
        time_scale: Divides every window.
        lateness_s: Time after the end of a window in which its outcomes may still arrive.

    Attributes:
        names: Names of the tasks.
        windows_ms: Length of each task's window, ms.
        lateness_ms: The lateness, ms.
        hold_ms: Time after which the windows of all tasks have closed, ms.
        skew_ms: Largest plausible advance of stream time by one request, ms.
    """

    def __init__(self, tasks: TaskSet, time_scale: float, lateness_s: float) -> None:
        self.names = tasks.names
        self.windows_ms = tuple(int(task.window_s * 1000 / time_scale) for task in tasks)
        self.lateness_ms = int(lateness_s * 1000)
        self.hold_ms = max(self.windows_ms) + self.lateness_ms
        self.skew_ms = min(MAX_SKEW_MS, self.hold_ms // SKEW_PART)

    def final_before(self, task: int, watermark_ms: int) -> int:
        """Requests before this time have a final label of the task, ms."""
        return watermark_ms - self.windows_ms[task] - self.lateness_ms
