"""Reports writes that take long: to which topic, and why.

aiokafka retries without a limit, as it should, but does not report why. One task per sink checks
the writes in progress. One that has taken `PATIENCE_S` is diagnosed and reported, and again with
exponential backoff, until it is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final

from stream.transport.incidents import Incidents

PATIENCE_S: Final = 5.0
LAST_BACKOFF_S: Final = 60.0
_CHECK_S: Final = 1.0


class SlowWrites:
    """Tracks the writes in progress of one sink.

    Args:
        diagnose: Returns why writes may be slow, by topic; called with the highest partition number
            that is written to, by topic.
        incidents: Slow writes are reported to it.
    """

    def __init__(
        self,
        diagnose: Callable[[Mapping[str, int]], Awaitable[Mapping[str, str]]],
        incidents: Incidents,
    ) -> None:
        self._diagnose = diagnose
        self._incidents = incidents
        self._in_progress: dict[int, tuple[float, int, tuple[str, ...]]] = {}
        self._count = 0
        self._reported: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the periodic check."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop the periodic check."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def writing(self, partition: int, topics: Iterable[str]) -> Iterator[None]:
        """Context of a write to this partition of these topics."""
        self._count += 1
        number = self._count
        self._in_progress[number] = (monotonic(), partition, tuple(topics))
        try:
            yield
        finally:
            del self._in_progress[number]

    async def _watch(self) -> None:
        backoff_s, next_s = PATIENCE_S, 0.0
        while True:
            await asyncio.sleep(_CHECK_S)
            late = self._late()
            self._report_resumed(self._reported - late.keys())
            if not late:
                backoff_s, next_s = PATIENCE_S, 0.0
            elif monotonic() >= next_s:
                reasons = await self._diagnose(
                    {topic: number for topic, (_, number) in late.items()}
                )
                still = {t: why for t, why in reasons.items() if t in self._late()}
                if still:
                    self._reported |= still.keys()
                    self._incidents.writes_blocked(still, max(late[topic][0] for topic in still))
                backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
                next_s = monotonic() + backoff_s

    def _late(self) -> dict[str, tuple[float, int]]:
        """Topics with slow writes: the longest time, and the highest partition number."""
        now_s = monotonic()
        late: dict[str, tuple[float, int]] = {}
        for since_s, partition, topics in self._in_progress.values():
            if now_s - since_s >= PATIENCE_S:
                for topic in topics:
                    waited_s, number = late.get(topic, (0.0, 0))
                    late[topic] = (max(waited_s, now_s - since_s), max(number, partition))
        return late

    def _report_resumed(self, topics: set[str]) -> None:
        if topics:
            self._incidents.writes_resumed(sorted(topics))
            self._reported -= topics
