"""Attribution windows of the tasks: when an outcome counts, and when a label matures."""

from models.tasks import TaskSet


class AttributionWindows:
    """The windows of all tasks, in event time.

    The window of task ``t`` after a request at time ``ts`` is ``(ts, ts + window_t]``. It closes
    when the watermark is later than ``ts + window_t + lateness``.

    Args:
        tasks: Tasks and their windows.
        time_scale: Divides every window.
        lateness_s: Time after the end of a window in which its outcomes may still arrive.

    Attributes:
        lateness_ms: The lateness, ms.
        first_ms: Time after which the first window closes, ms.
        hold_ms: Time after which the windows of all tasks have closed, ms.
    """

    def __init__(self, tasks: TaskSet, time_scale: float, lateness_s: float) -> None:
        self._windows_ms = tuple(int(task.window_s * 1000 / time_scale) for task in tasks)
        self.lateness_ms = int(lateness_s * 1000)
        self._maturities_ms = sorted({each + self.lateness_ms for each in self._windows_ms})
        self.first_ms = self._maturities_ms[0]
        self.hold_ms = self._maturities_ms[-1]

    def contains(self, task: int, request_ts: int, ts: int) -> bool:
        """Whether an event at `ts` is within the window of a task."""
        return request_ts < ts <= request_ts + self._windows_ms[task]

    def closed(self, task: int, request_ts: int, watermark: int | None) -> bool:
        """Whether the window of a task has closed, so that its label is final."""
        if watermark is None:
            return False
        return watermark > request_ts + self._windows_ms[task] + self.lateness_ms

    def next_maturity(self, request_ts: int, reached: int) -> int | None:
        """The earliest time, not before `reached`, after which a window closes; None if none."""
        ends = (request_ts + maturity for maturity in self._maturities_ms)
        return next((end for end in ends if end >= reached), None)
