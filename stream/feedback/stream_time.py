"""The join's time: that of the newest request, as far as its producer's clock can be believed.

Requests with a wrong stamp must not close everybody's windows. Stamps ahead of the wall clock are
refused before they come here. Of the others (a replay that jumps, or a wrong clock), those far
ahead of the requests before them move time on only when most of the last requests say so, too.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from models.bounds import MAX_SKEW_MS

#: The requests that are asked about a jump, and how many must be at least as late.
WITNESSES: Final = 31
QUORUM: Final = WITNESSES // 2 + 1


@dataclass(slots=True)
class StreamTime:
    """Stream time of one partition of the join.

    Time is at most `skew_ms` ahead of what `QUORUM` of the last `WITNESSES` requests once
    agreed on, and never goes back but by `correct`.

    Attributes:
        skew_ms: How far ahead of the others one request is believed.
        watermark: In ms since the epoch; None before the first request.
    """

    skew_ms: int
    watermark: int | None = None
    _agreed: int = field(default=0, init=False)
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=WITNESSES), init=False)

    def __post_init__(self) -> None:
        self._agreed = self.watermark or 0

    def observe(self, ts: int) -> None:
        """Follow the time of a new request, in ms."""
        self._recent.append(ts)
        if self.watermark is None:
            self.watermark = self._agreed = ts
        if ts > self._agreed + self.skew_ms and len(self._recent) >= QUORUM:
            self._agreed = max(self._agreed, sorted(self._recent)[-QUORUM])
        if ts <= self._agreed + self.skew_ms:
            self.watermark = max(self.watermark, ts)
        self.watermark = max(self.watermark, self._agreed)

    def pass_by(self, elapsed_ms: int) -> None:
        """Let time pass with the clock, after the first request."""
        if self.watermark is not None:
            self.watermark += elapsed_ms
            self._agreed += elapsed_ms

    def correct(self, now_ms: int) -> None:
        """Take a time that is further ahead of the clock than any request may be back to it."""
        if self.watermark is not None and self.watermark > now_ms + MAX_SKEW_MS:
            self.watermark = now_ms
            self._agreed = min(self._agreed, now_ms)
