"""Writes that wait: after a few seconds somebody says which topic they wait for, and why.

aiokafka tries again for ever, and rightly so; but it does not say what for. One task per sink looks
at the writes under way. What has waited for `PATIENCE_S` is looked into and reported, again after
twice as long, until writes go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final

from stream.transport.incidents import Incidents

PATIENCE_S: Final = 5.0
LAST_PAUSE_S: Final = 60.0
_LOOK_S: Final = 1.0


class Waiting:
    """The writes under way of one sink.

    Args:
        ailments: Says why writes may be waiting, by topic; asked with the highest partition number
            that is written to, by topic.
        incidents: Told of it.
    """

    def __init__(
        self,
        ailments: Callable[[Mapping[str, int]], Awaitable[Mapping[str, str]]],
        incidents: Incidents,
    ) -> None:
        self._ailments = ailments
        self._incidents = incidents
        self._under_way: dict[int, tuple[float, int, tuple[str, ...]]] = {}
        self._numbers = 0
        self._reported: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def writing(self, partition: int, topics: Iterable[str]) -> Iterator[None]:
        """A write to this partition of these topics is under way."""
        self._numbers += 1
        number = self._numbers
        self._under_way[number] = (monotonic(), partition, tuple(topics))
        try:
            yield
        finally:
            del self._under_way[number]

    async def _watch(self) -> None:
        pause_s, next_s = PATIENCE_S, 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            late = self._late()
            self._go_on(self._reported - late.keys())
            if not late:
                pause_s, next_s = PATIENCE_S, 0.0
            elif monotonic() >= next_s:
                reasons = await self._ailments(
                    {topic: number for topic, (_, number) in late.items()}
                )
                still = {t: why for t, why in reasons.items() if t in self._late()}
                if still:
                    self._reported |= still.keys()
                    self._incidents.waiting(still, max(late[topic][0] for topic in still))
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
                next_s = monotonic() + pause_s

    def _late(self) -> dict[str, tuple[float, int]]:
        """Topics with writes that have waited for too long: for how long, to which partition."""
        now_s = monotonic()
        late: dict[str, tuple[float, int]] = {}
        for since_s, partition, topics in self._under_way.values():
            if now_s - since_s >= PATIENCE_S:
                for topic in topics:
                    waited_s, number = late.get(topic, (0.0, 0))
                    late[topic] = (max(waited_s, now_s - since_s), max(number, partition))
        return late

    def _go_on(self, topics: set[str]) -> None:
        if topics:
            self._incidents.writing(sorted(topics))
            self._reported -= topics
