"""Capacity: passes accrue by event time, at most Q a second, instead of by the request.

A token bucket whose tokens are handed out in proportion to its level. Tokens flow in at Q per
second of the stream's time and out into the debt of the gate, share = level / depth per request. So
the share follows Q / (requests per second) within ``depth`` requests without an estimate of it.
While traffic is below Q the bucket overflows into the debt, up to the gate's slack B, and nothing
is intercepted. The outflow never exceeds the inflow, so passes in any t seconds are at most
Q t + depth + 2 B + 1.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

DEPTH_S: Final = 0.03
"""Seconds of Q that the bucket holds: 0.3 % of the passes of any ten seconds."""
SLACK_S: Final = 0.05
"""Bound of the gate's debt, in seconds of Q; at small Q this is less than its slack."""

MAX_SHARE: Final = 1000.0
"""Most passes that one request adds to the debt; more than any slack holds."""

_ONE: Final = 1 << 32


def slack_within(per_second: float, slack: float) -> float:
    """The slack B of a gate under a capacity of ``per_second``."""
    return max(1.0, min(slack, SLACK_S * per_second))


class TokenBucket:
    """Tokens for passes, by the stream's clock.

    Args:
        per_second: Q, the passes that accrue per second.
    """

    def __init__(self, per_second: float) -> None:
        self._clock: int | None = None
        self._level = self._depth = 1.0
        self.resize(per_second)
        self._level = self._depth

    def resize(self, per_second: float) -> None:
        """Accrue ``per_second`` from the next request on."""
        self._per_ms = per_second / 1000.0
        self._depth = max(1.0, DEPTH_S * per_second)
        self._level = min(self._level, self._depth)

    def accrue(self, times_N: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The passes that each of the next N requests adds to the debt, float64.

        Args:
            times_N: The stream's time at each, in milliseconds.

        Returns:
            Shares of shape (N,), multiples of 2^-32.
        """
        level, depth, per_ms, clock = self._level, self._depth, self._per_ms, self._clock
        shares = []
        for time in times_N.tolist():
            overflow = 0.0
            if clock is None:
                clock = time
            elif time > clock:
                level += (time - clock) * per_ms
                overflow, level = max(0.0, level - depth), min(level, depth)
                clock = time
            share = level / depth
            level -= share
            shares.append(int(min(share + overflow, MAX_SHARE) * _ONE) / _ONE)
        self._level, self._clock = level, clock
        return np.array(shares, np.float64)
