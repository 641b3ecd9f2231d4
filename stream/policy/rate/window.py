"""The sliding window: the last N values of a stream, none of them older than T seconds.

Time is event time (:mod:`stream.policy.rate.stream_clock`), which never goes back.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FEWEST: Final = 64
"""Values that stay whatever their age, so that a pause in traffic does not empty the window."""


class SlidingWindow:
    """The last ``requests`` values, optionally no older than ``seconds``.

    Memory: two times N values of 4 bytes, and as many times of 8 bytes when ``seconds`` is set; it
    is allocated as values arrive, so a window with few values stays small.

    Args:
        requests: N, the most values held.
        seconds: T, or None for no limit of age.
    """

    def __init__(self, requests: int, seconds: float | None = None) -> None:
        self.requests = requests
        self._age_ms = None if seconds is None else round(seconds * 1000)
        self._values = np.empty(0, np.float32)
        self._times = np.empty(0, np.int64)
        self._end = 0
        self._clock: int | None = None

    def append(self, values_N: npt.NDArray[np.float32], times_N: npt.NDArray[np.int64]) -> None:
        """Append the next values of the stream.

        Args:
            values_N: The values, float32 of shape (N,).
            times_N: The stream's time at each, in milliseconds, int64 of shape (N,).
        """
        values_N = values_N[-self.requests :]
        count = len(values_N)
        if count == 0:
            return
        if self._end + count > len(self._values) and len(self._values) < 2 * self.requests:
            self._grow(self._end + count)
        if self._end + count > len(self._values):
            kept = self.requests - count
            self._values[:kept] = self._values[self._end - kept : self._end]
            if self._age_ms is not None:
                self._times[:kept] = self._times[self._end - kept : self._end]
            self._end = kept
        self._values[self._end : self._end + count] = values_N
        if self._age_ms is not None:
            clock_N = np.maximum.accumulate(times_N)
            if self._clock is not None:
                np.maximum(clock_N, self._clock, out=clock_N)
            self._times[self._end : self._end + count] = clock_N[-count:]
            self._clock = int(clock_N[-1])
        self._end += count

    def _grow(self, wanted: int) -> None:
        """Make room for ``wanted`` values, doubling, up to two windows."""
        size = min(2 * self.requests, max(2 * FEWEST, 2 * wanted))
        self._values = np.resize(self._values, size) if self._end else np.empty(size, np.float32)
        if self._age_ms is not None:
            self._times = np.resize(self._times, size) if self._end else np.empty(size, np.int64)

    def values(self) -> npt.NDArray[np.float32]:
        """The values in the window, in the order of the stream: float32 of shape (M,), M <= N."""
        start = max(0, self._end - self.requests)
        if self._age_ms is not None and self._clock is not None:
            oldest = self._clock - self._age_ms
            fresh = int(np.searchsorted(self._times[start : self._end], oldest, side="right"))
            start = max(start, min(start + fresh, self._end - FEWEST))
        return self._values[start : self._end]

    def recent(self, share: float) -> npt.NDArray[np.float32]:
        """The part of the window that agrees with its newest values, rising: float32 (M,).

        While the share of the newest quarter above the quantile differs from that of the whole
        window by more than two standard deviations, the older half is discarded. So a window that
        is long enough to rank finely follows a change as fast as a short one.

        Args:
            share: The quantile that is compared: the one that this share of the values reaches.
        """
        values_M = self.values()
        while True:
            rising_M = np.sort(values_M)
            count, newest = len(values_M), len(values_M) // 4
            if newest < FEWEST:
                return rising_M
            quantile = rising_M[min(count - 1, int((1.0 - share) * count))]
            above = 1.0 - rising_M.searchsorted(quantile) / count
            off = np.count_nonzero(values_M[-newest:] >= quantile) / newest - above
            if off * off * newest <= 4.0 * above * (1.0 - above):
                return rising_M
            values_M = values_M[count // 2 :]
