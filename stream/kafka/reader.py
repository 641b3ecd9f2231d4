"""Reads whole topics without a consumer group; replay, verifier and watchers share it.

The end of a partition is its last stable offset: what follows may still be aborted with its
transaction. It is taken from the first fetch, too, and not only from ListOffsets: the embedded
broker counts a batch as one record there.

A batch whose checksum stays wrong is skipped like any other batch that cannot be read, because
readers of control messages and announcements need those that follow. A reader that must not miss a
record (`keep`) gets an error instead.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Self

from aiokafka import ConsumerRecord, TopicPartition

from models.settings import KafkaSettings
from stream.kafka.batches import CorruptBatchError, CorruptBatches, RefusedBatch
from stream.kafka.batches.consumer import log
from stream.kafka.client import bounded_consumer, topic_partitions
from stream.kafka.topics import TopicError

#: Longest wait for a fetch.
FETCH_MS = 500


class TopicReader:
    """Reads the committed records of all partitions of one topic; an async context manager.

    Args:
        kafka: Connection settings.
        topic: Name of the topic.
        refused: Called with every batch that cannot be read; without it, they are logged.
        keep: Whether such a batch is returned among the records, in its place.
        starts: Offsets to start from, by partition; others are not read. Without it all are read
            from the beginning.
        backlog: Most records of a partition in ``starts`` that are read of what was there before.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        refused: Callable[[RefusedBatch], None] | None = None,
        *,
        keep: bool = False,
        starts: Mapping[int, int] | None = None,
        backlog: int | None = None,
    ) -> None:
        self._kafka = kafka
        self._refused = refused or log
        self._keep = keep
        self._starts = starts
        self._backlog = backlog
        self._open = False
        self._corrupt = CorruptBatches()
        self.topic = topic

    async def __aenter__(self) -> Self:
        """Connect and seek to the start.

        Raises:
            TopicError: If there is no such topic.
        """
        self.partitions = (await topic_partitions(self._kafka, self.topic))[self.topic]
        if not self.partitions:
            raise TopicError(
                f"{self.topic}: no such topic on {self._kafka.bootstrap}; `weir topics` creates "
                "the topics of Weir"
            )
        if self._starts is not None:
            self.partitions = [tp for tp in self.partitions if tp.partition in self._starts]
        self.consumer = bounded_consumer(
            self._kafka,
            self._refused,
            keep=self._keep,
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # if retention deletes the records at the position
        )
        self._open = True
        await self.consumer.start()
        self.consumer.assign(self.partitions)
        await self.consumer.seek_to_beginning(*self.partitions)
        self.starts: dict[TopicPartition, int] = await self.consumer.beginning_offsets(
            self.partitions
        )
        # next offset of each partition; final after its first fetch
        self.ends: dict[TopicPartition, int] = await self.consumer.end_offsets(self.partitions)
        self._seen: set[TopicPartition] = set()
        if self._starts is not None:
            for tp in self.partitions:
                self.consumer.seek(tp, self._start(tp, self._starts[tp.partition]))
        return self

    def _start(self, tp: TopicPartition, wanted: int) -> int:
        """Offset to start from: the wanted one, within the partition and the backlog."""
        begin, end = self.starts[tp], self.ends[tp]
        if self._backlog is not None:
            begin = max(begin, end - self._backlog)
        return min(max(wanted, begin), end)

    async def __aexit__(self, *_exc: object) -> None:
        """Disconnect."""
        if self._open:
            await self.consumer.stop()

    async def from_time(self, start_ms: int) -> None:
        """Seek to the first record of each partition with this timestamp or a later one."""
        found = await self.consumer.offsets_for_times(dict.fromkeys(self.partitions, start_ms))
        for tp in self.partitions:
            self.consumer.seek(tp, found[tp].offset if found[tp] else self.ends[tp])

    async def fetch(
        self, partitions: Sequence[TopicPartition], max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records of some partitions; an empty answer need not be the end.

        Raises:
            TopicError: If a batch is corrupt and ``keep`` is set.
        """
        try:
            batches: dict[TopicPartition, list[ConsumerRecord]] = await self.consumer.getmany(
                *partitions, timeout_ms=FETCH_MS, max_records=max_records
            )
        except CorruptBatchError as error:
            await self._skip_corrupt(error)
            return {}
        for tp in partitions:
            stable = self.consumer.last_stable_offset(tp)
            if tp not in self._seen and stable is not None:
                self._seen.add(tp)
                self.ends[tp] = max(self.ends[tp], stable)
        return batches

    async def _skip_corrupt(self, error: CorruptBatchError) -> None:
        """Seek past a batch once its checksum has been wrong several times."""
        if self._keep:
            raise TopicError(
                f"{error.topic}[{error.partition}]@{error.offset}: the checksum of the batch is "
                "wrong, so its records and those after it cannot be read; see docs/operations.md"
            ) from error
        tp = TopicPartition(error.topic, error.partition)
        end = max(self.ends[tp], self.consumer.highwater(tp) or 0)
        batch = self._corrupt.count(error, end)
        if batch is None:
            await asyncio.sleep(FETCH_MS / 1000)
            return
        self.consumer.seek(tp, batch.last_offset + 1)
        self._refused(batch)

    async def at_end(self, tp: TopicPartition) -> bool:
        """Whether everything up to the end of ``tp`` has been fetched."""
        position: int = await self.consumer.position(tp)
        return tp in self._seen and position >= self.ends[tp]

    async def batches(self) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
        """All committed records up to the ends, in lists of one partition each."""
        unread = list(self.partitions)
        while unread:
            for tp, records in (await self.fetch(unread)).items():
                if records[-1].offset < self.ends[tp]:
                    yield tp, records
                elif before := [r for r in records if r.offset < self.ends[tp]]:
                    yield tp, before
            unread = [tp for tp in unread if not await self.at_end(tp)]

    def unstable(self) -> dict[TopicPartition, tuple[int, int]]:
        """Partitions with an open transaction, as of the last fetch: its start and the end."""
        offsets = {
            tp: (self.consumer.last_stable_offset(tp), self.consumer.highwater(tp))
            for tp in self._seen
        }
        return {tp: (stable, end) for tp, (stable, end) in offsets.items() if stable < end}


async def read_topic(kafka: KafkaSettings, topic: str) -> AsyncGenerator[ConsumerRecord, None]:
    """All committed records of ``topic``, in the order of each partition.

    Raises:
        TopicError: If there is no such topic.
    """
    async with TopicReader(kafka, topic) as reader:
        async for _, records in reader.batches():
            for record in records:
                yield record
