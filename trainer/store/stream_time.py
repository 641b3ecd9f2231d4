"""Stream time: the newest event time, robust against wrong timestamps.

A wrong timestamp must not close the windows of all other requests. Timestamps ahead of the wall
clock are refused before they get here. Of the others (a replay that jumps, or a producer whose
clock is wrong), those far ahead of stream time advance it only once most of the recent requests
confirm them.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from models.bounds import MAX_SKEW_MS

#: How many recent requests are consulted about a jump, and how many must be at least as late.
RECENT: Final = 31
QUORUM: Final = RECENT // 2 + 1


@dataclass(slots=True)
class StreamTime:
    """Stream time of a store.

    It is at most `skew_ms` ahead of the last time that `QUORUM` of the `RECENT` latest requests
    confirmed, and goes back only in `limit_to_clock`.

    Attributes:
        skew_ms: Maximum time ahead of the confirmed time that one request may advance to.
        watermark: Stream time in ms since the epoch; None before the first request.
    """

    skew_ms: int
    watermark: int | None = None
    _confirmed: int = field(default=0, init=False)
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT), init=False)

    def __post_init__(self) -> None:
        self._confirmed = self.watermark or 0

    def observe(self, ts: int) -> None:
        """Advance to the event time of a new request, in ms, as far as it is plausible."""
        self._recent.append(ts)
        if self.watermark is None:
            self.watermark = self._confirmed = ts
        if ts > self._confirmed + self.skew_ms and len(self._recent) >= QUORUM:
            self._confirmed = max(self._confirmed, sorted(self._recent)[-QUORUM])
        if ts <= self._confirmed + self.skew_ms:
            self.watermark = max(self.watermark, ts)
        self.watermark = max(self.watermark, self._confirmed)

    def advance(self, elapsed_ms: int) -> None:
        """Advance with the wall clock while the stream is idle, after the first request."""
        if self.watermark is not None:
            self.watermark += elapsed_ms
            self._confirmed += elapsed_ms

    def limit_to_clock(self, now_ms: int) -> None:
        """Set a stream time that no request may have (too far ahead of the clock) to the clock."""
        if self.watermark is not None and self.watermark > now_ms + MAX_SKEW_MS:
            self.watermark = now_ms
            self._confirmed = min(self._confirmed, now_ms)
