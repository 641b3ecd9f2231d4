"""When a measurement may begin: latencies of successive windows have stopped to change.

A broker needs minutes until its code is compiled, a new process and new topics need seconds. What
is measured before that says more of the machine than of the contender, so every measurement waits
until the p99 of three successive windows lie within 20 % of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

WINDOWS: Final = 3
WITHIN: Final = 0.2
#: With more than this at the median, requests queue in front of the contender: it is too slow.
OVERLOADED_MS: Final = 2000.0


@dataclass(frozen=True, slots=True)
class Window:
    """Latencies of the requests that became visible in one window.

    Attributes:
        count: Number of requests.
        p50_ms: Their median; 0 for an empty window.
        p99_ms: Their 99th percentile; 0 for an empty window.
    """

    count: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latency_ns_N: npt.NDArray[np.int64]) -> "Window":
        """The window of these latencies, in nanoseconds."""
        if not len(latency_ns_N):
            return cls(0, 0.0, 0.0)
        p50, p99 = np.percentile(latency_ns_N, (50, 99)) / 1e6
        return cls(len(latency_ns_N), float(p50), float(p99))


def is_warm(windows: Sequence[Window]) -> bool:
    """Whether the p99 of the last :data:`WINDOWS` windows lie within :data:`WITHIN`."""
    last = windows[-WINDOWS:]
    if len(last) < WINDOWS or not all(window.count for window in last):
        return False
    p99s = [window.p99_ms for window in last]
    return max(p99s) <= (1 + WITHIN) * min(p99s)


def is_overloaded(windows: Sequence[Window]) -> bool:
    """Whether requests wait longer than :data:`OVERLOADED_MS`, and no shorter than before."""
    if len(windows) < 2 or not windows[-2].count:
        return False
    before, last = windows[-2:]
    return not last.count or last.p50_ms > max(OVERLOADED_MS, before.p50_ms)
