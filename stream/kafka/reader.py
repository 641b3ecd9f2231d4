"""Reading topics from outside any consumer group: what replay, verifier and watchers share.

The end of a partition is its last stable offset: behind it lies what a transaction may still
abort. It is taken from the first fetch, not only from the broker's answer to "latest offset": the
embedded broker counts a batch as one record there.

A batch whose checksum stays wrong is left out like any other that cannot be read, for who follows
steering and announcements must go on, and the next message counts; whoever wants to see all there
is (`keep`) is told that he cannot.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
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
    """All partitions of one topic, in no group; committed records only.

    Use it as an async context manager.

    Args:
        kafka: Brokers.
        topic: The topic.
        refused: Told of every batch that cannot be read; without it, they are logged.
        keep: Whether such a batch is handed over among the records.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        refused: Callable[[RefusedBatch], None] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._kafka = kafka
        self._refused = refused or log
        self._keep = keep
        self._open = False
        self._corrupt = CorruptBatches()
        self.topic = topic

    async def __aenter__(self) -> Self:
        """Connect and stand at the beginning.

        Raises:
            TopicError: If there is no such topic.
        """
        self.partitions = (await topic_partitions(self._kafka, self.topic))[self.topic]
        if not self.partitions:
            raise TopicError(
                f"{self.topic}: no such topic on {self._kafka.bootstrap}; `weir topics` creates "
                "the topics of Weir"
            )
        self.consumer = bounded_consumer(
            self._kafka,
            self._refused,
            keep=self._keep,
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # should the topic lose records meanwhile
        )
        self._open = True
        await self.consumer.start()
        self.consumer.assign(self.partitions)
        await self.consumer.seek_to_beginning(*self.partitions)
        self.starts: dict[TopicPartition, int] = await self.consumer.beginning_offsets(
            self.partitions
        )
        # first offsets that were not there yet; final for a partition after its first fetch
        self.ends: dict[TopicPartition, int] = await self.consumer.end_offsets(self.partitions)
        self._seen: set[TopicPartition] = set()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Disconnect, if it ever connected."""
        if self._open:
            await self.consumer.stop()

    async def from_time(self, start_ms: int) -> None:
        """Stand at or before the first record of each partition with this timestamp or later."""
        found = await self.consumer.offsets_for_times(dict.fromkeys(self.partitions, start_ms))
        for tp in self.partitions:
            self.consumer.seek(tp, found[tp].offset if found[tp] else self.ends[tp])

    async def fetch(
        self, partitions: Sequence[TopicPartition], max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records of some partitions; none of one may mean its end or a slow broker.

        Raises:
            TopicError: If a batch is corrupt, where everything is wanted.
        """
        try:
            batches: dict[TopicPartition, list[ConsumerRecord]] = await self.consumer.getmany(
                *partitions, timeout_ms=FETCH_MS, max_records=max_records
            )
        except CorruptBatchError as error:
            await self._leave_out(error)
            return {}
        for tp in partitions:
            stable = self.consumer.last_stable_offset(tp)
            if tp not in self._seen and stable is not None:
                self._seen.add(tp)
                self.ends[tp] = max(self.ends[tp], stable)
        return batches

    async def _leave_out(self, error: CorruptBatchError) -> None:
        """Go on behind a batch whose checksum is wrong each time."""
        if self._keep:
            raise TopicError(
                f"{error.topic}[{error.partition}]@{error.offset}: the checksum of the batch is "
                "wrong, so what is in it and behind it cannot be told; see docs/operations.md"
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
        """All committed records up to the ends, some of one partition at a time."""
        unread = list(self.partitions)
        while unread:
            for tp, records in (await self.fetch(unread)).items():
                if records[-1].offset < self.ends[tp]:
                    yield tp, records
                elif before := [r for r in records if r.offset < self.ends[tp]]:
                    yield tp, before
            unread = [tp for tp in unread if not await self.at_end(tp)]

    def unstable(self) -> dict[TopicPartition, tuple[int, int]]:
        """Where a transaction is open, as of the last fetch: its start and the partition's end."""
        offsets = {
            tp: (self.consumer.last_stable_offset(tp), self.consumer.highwater(tp))
            for tp in self._seen
        }
        return {tp: (stable, end) for tp, (stable, end) in offsets.items() if stable < end}


async def read_topic(kafka: KafkaSettings, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Every committed record of ``topic``, partition by partition as they arrive.

    Raises:
        TopicError: If there is no such topic.
    """
    async with TopicReader(kafka, topic) as reader:
        async for _, records in reader.batches():
            for record in records:
                yield record
