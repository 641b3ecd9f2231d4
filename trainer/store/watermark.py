"""The store's watermark: up to which event time all outcomes have been read.

Stream time is the newest event time of the requests, robust against wrong clocks
(:mod:`trainer.store.stream_time`), advanced with the clock while nothing waits to be read. The
watermark follows it only while the trainer has read all outcomes that were written: a label must
not become 0 because its outcome waits in the topic.
"""

from models.bounds import MAX_SKEW_MS
from trainer.store.stream_time import StreamTime


class Watermark:
    """Watermark of the trainer that writes the store.

    Args:
        skew_ms: Largest plausible advance of stream time by one request, ms.
        ms: The stored watermark, None if there is none.
        now_ms: Wall clock, ms since the epoch.

    Attributes:
        ms: The watermark in ms since the epoch, None before the first request.
    """

    def __init__(self, skew_ms: int, ms: int | None, now_ms: int) -> None:
        self.ms = ms
        self._stream = StreamTime(skew_ms, ms)
        self._moved_ms = now_ms

    def observe(self, ts: int, now_ms: int) -> None:
        """Take the event time of a consumed request into account."""
        self._stream.limit_to_clock(now_ms)
        self._stream.observe(ts)
        self._moved_ms = now_ms

    def tick(self, now_ms: int, *, outcomes_read: bool, examples_read: bool) -> None:
        """Let time pass.

        Args:
            now_ms: Wall clock, ms since the epoch.
            outcomes_read: Whether all outcomes that were written have been consumed.
            examples_read: Whether all examples that were written have been consumed.
        """
        if outcomes_read and examples_read:
            self._stream.advance(max(0, now_ms - self._moved_ms))
        self._moved_ms = now_ms
        self._stream.limit_to_clock(now_ms)
        stream_ms = self._stream.watermark
        if outcomes_read and stream_ms is not None:
            self.ms = stream_ms if self.ms is None else max(self.ms, stream_ms)
        if self.ms is not None and self.ms > now_ms + MAX_SKEW_MS:
            self.ms = now_ms
