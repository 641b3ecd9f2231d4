"""Topics as lanes: one per partition, read with one consumer per topic."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import numpy as np
from aiokafka import ConsumerRecord, TopicPartition

from stream.intercept.interceptor import timestamps
from stream.kafka.batches import RefusedBatch
from stream.kafka.reader import TopicReader
from stream.replay.lanes import Planned
from stream.replay.records import Fetched, Records

#: Records of a piece.
MOST_RECORDS: Final = 4096


class TopicLane:
    """One partition of a topic.

    Args:
        reader: Reader of the topic, connected.
        tp: The partition.
        start: First offset to read.
        verdict: Logged verdict about all of its records, where the topic tells it.
    """

    absolute = True

    def __init__(
        self,
        reader: TopicReader,
        tp: TopicPartition,
        start: int,
        verdict: str | None,
    ) -> None:
        self._reader = reader
        self._tp = tp
        self._start = start
        self._end: int | None = None
        self.verdict = verdict
        self.name = f"{tp.topic}[{tp.partition}]"
        self.partition: int = tp.partition
        self.weight = max(0, reader.ends[tp] - start)
        self.fingerprint = start

    def set_end(self, ends: Mapping[str, int]) -> None:
        """Read no further than a replay that is resumed did; ``ends`` by name of the lane."""
        self._end = ends.get(self.name)

    @property
    def end(self) -> int:
        """First offset that is not read."""
        return self._reader.ends[self._tp] if self._end is None else self._end

    async def pieces(self, token: int | None) -> AsyncIterator[Planned]:
        """Its pieces; a token is an offset."""
        tp, reader = self._tp, self._reader
        if token is not None:
            reader.consumer.seek(tp, token)
        while not await self._at_end():
            fetched = (await reader.fetch([tp], MOST_RECORDS)).get(tp, ())
            records = [record for record in fetched if record.offset < self.end]
            if records:
                first, last = records[0].offset, records[-1].offset
                done = (last + 1 - self._start) / max(1, self.end - self._start)
                yield Planned(Fetched(_columns(records)), first, min(1.0, done))

    async def _at_end(self) -> bool:
        if await self._reader.at_end(self._tp):
            return True
        position: int = await self._reader.consumer.position(self._tp)
        return self._end is not None and position >= self._end

    def first_ms(self) -> int:
        """0: all partitions are read side by side."""
        return 0

    def place(self, offset: int, line: int | None) -> str:
        """Topic, partition and offset."""
        return f"{self.name}@{offset}" if line is None else f"{self.name}@{offset}:{line}"


def _columns(records: list[ConsumerRecord]) -> Records:
    unreadable = {
        at: record.reason for at, record in enumerate(records) if isinstance(record, RefusedBatch)
    }
    headers = [record.headers for record in records]
    return Records(
        [None if at in unreadable else record.value for at, record in enumerate(records)],
        timestamps(records),
        np.array([record.offset for record in records], np.int64),
        headers if any(headers) else None,
        unreadable=unreadable,
    )


async def topic_lanes(
    reader: TopicReader,
    verdict: str | None,
    start_ms: int | None,
) -> list[TopicLane]:
    """The partitions of a topic from a moment on.

    Args:
        reader: Reader of the topic, connected.
        verdict: Logged verdict about its records, where it tells it.
        start_ms: First timestamp; None for the beginning.
    """
    if start_ms is not None:
        await reader.from_time(start_ms)
    lanes = []
    for tp in sorted(reader.partitions):
        start: int = await reader.consumer.position(tp)
        lanes.append(TopicLane(reader, tp, start, verdict))
    return lanes
