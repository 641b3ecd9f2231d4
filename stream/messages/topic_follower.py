"""Following a topic of Weir's own: poll, handle each record, and refuse what cannot be used.

This is how workers follow the topics that change what they do (``control``, ``consumption``,
``rate-state``, ``models``): from the beginning, outside any consumer group, record by record.
Coordinators follow their slots of ``rate-summaries`` from where they left off.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Self

from aiokafka import ConsumerRecord

from models.settings import KafkaSettings
from stream.kafka.reader import TopicReader
from stream.messages.refusals import Refusals

YIELD_RECORDS: Final = 50
"""Records handled between two turns of the event loop; some 2 ms."""


class TopicFollower:
    """Hands each record of a topic to a handler; an exception refuses that record only.

    Use it as an async context manager.

    Args:
        kafka: Brokers.
        topic: The topic.
        handle: Called with each record, in order; its exception is the reason of a refusal.
        refusals: Counts refused records and logs them with their coordinates.
        consequence: Consequence of a refusal for the process, for the log line.
        max_records: Most records of a poll; None for all that one fetch returns.
        starts: Offsets to start from, by partition; others are not followed.
        backlog: Most records that are read of what was in each before.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        handle: Callable[[ConsumerRecord], None],
        refusals: Refusals,
        *,
        consequence: str = "ignored",
        max_records: int | None = None,
        starts: Mapping[int, int] | None = None,
        backlog: int | None = None,
    ) -> None:
        self._reader = TopicReader(
            kafka, topic, refusals.refuse_batch, starts=starts, backlog=backlog
        )
        self._handle = handle
        self._refusals = refusals
        self._consequence = consequence
        self._max_records = max_records
        self.topic = topic

    async def __aenter__(self) -> Self:
        """Connect, and go to the start.

        Raises:
            TopicError: If there is no such topic.
        """
        await self._reader.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect; safe if the connection was never made."""
        await self._reader.__aexit__(*exc)

    @property
    def ends(self) -> dict[int, int]:
        """Next offset of each partition when it was connected."""
        return {tp.partition: end for tp, end in self._reader.ends.items()}

    async def poll(self) -> None:
        """Handle the records that have arrived; returns after half a second without any."""
        fetched = await self._reader.fetch(self._reader.partitions, self._max_records)
        for records in fetched.values():
            for number, record in enumerate(records, 1):
                with self._refusals.guard(record, self._consequence):
                    self._handle(record)
                if number % YIELD_RECORDS == 0:
                    await asyncio.sleep(0)

    async def at_end(self) -> bool:
        """Whether everything that was on the topic at the connection has been handled."""
        return all([await self._reader.at_end(tp) for tp in self._reader.partitions])

    async def poll_to_end(self, limit_s: float | None = None) -> bool:
        """Poll until everything that was on the topic at the connection has been handled.

        Args:
            limit_s: Stop polling after this time; at least one poll is made.

        Returns:
            Whether the end was reached.
        """
        stop_s = None if limit_s is None else time.monotonic() + limit_s
        polled = False
        while not await self.at_end():
            if polled and stop_s is not None and time.monotonic() > stop_s:
                return False
            await self.poll()
            polled = True
        return True
