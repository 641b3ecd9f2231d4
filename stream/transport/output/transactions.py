"""The transactional producer of one input partition, and the group's committed offsets."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.transport.chunk import Outputs, RecordsRefusedError
from stream.transport.concurrency import all_of, at_most
from stream.transport.incidents import Incidents
from stream.transport.output.batch_builder import Batch
from stream.transport.output.batching import build_batches, enqueue
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.producer import BatchRefusedError, Producer, retrieve

ABORT_S: Final = 1.0  # for the abort of a released lane, so that consumers need not wait

TopicBatches = dict[str, list[Batch]]  # by topic


class GroupOffsets:
    """Reads a group's committed offsets from its coordinator, without joining the group."""

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        self._options = {**client, "group_id": group, "enable_auto_commit": False}
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect."""
        self._consumer = AIOKafkaConsumer(**self._options)
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def committed(self, partition: TopicPartition) -> int | None:
        """The committed offset, None if there is none. Not cached: transactions change it."""
        assert self._consumer is not None
        offset: int | None = await self._consumer.committed(partition)
        return offset


class KafkaTransactions:
    """One partition's transactional producer; see `lane.Transactions`.

    Args:
        options: Options of the aiokafka producer.
        group: The consumer group.
        partition: The input partition.
        offsets: Reads its committed offset.
        topics: The output topics and their limits.
        incidents: Throttling is reported to it.
        codec: Codec of the batches.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        group: str,
        partition: TopicPartition,
        offsets: GroupOffsets,
        topics: OutputTopics,
        incidents: Incidents,
        *,
        codec: str = "none",
    ) -> None:
        self._options = dict(options)
        self._options["transactional_id"] = f"{group}-{partition.topic}-{partition.partition}"
        self._codec = codec
        self._group = group
        self._partition = partition
        self._offsets = offsets
        self._topics = topics
        self._incidents = incidents
        self._producer: Producer | None = None
        self._open = False

    async def claim(self) -> int | None:
        """Take a new epoch; see `lane.Transactions.claim`."""
        self._open = False
        await self._retire()
        self._producer = Producer(self._incidents, **self._options)
        await self._producer.start()
        return await self._offsets.committed(self._partition)

    def build(self, outputs: Outputs) -> TopicBatches:
        """Build record batches; see `lane.Transactions.build`."""
        producer, partition = self._ready(), self._partition.partition
        size = self._topics.batch_bytes
        for topic, records in outputs.items():
            self._topics.check(topic, partition, records)
        return {
            topic: build_batches(producer, topic, partition, records, size, self._codec)
            for topic, records in outputs.items()
        }

    async def begin(self) -> None:
        """Begin a transaction."""
        await self._ready().begin_transaction()
        self._open = True

    async def write(self, batches: TopicBatches, offset: int) -> None:
        """Write into the transaction; see `lane.Transactions.write`.

        The first batch of every topic is enqueued before the offset, so that AddPartitionsToTxn is
        the first request: if the previous transaction has not ended yet, it is retried after
        `producer.NEXT_TRANSACTION_S`, whereas AddOffsetsToTxn is retried after 100 ms.
        """
        producer = self._ready()
        sent = [
            await self._enqueue(topic, of_topic, 0)
            for topic, of_topic in batches.items()
            if of_topic
        ]
        await all_of(
            *sent,
            producer.send_offsets_to_transaction({self._partition: offset}, self._group),
            *(self._send_rest(topic, of_topic) for topic, of_topic in batches.items()),
        )

    async def _send_rest(self, topic: str, batches: Sequence[Batch]) -> None:
        await all_of(*[await self._enqueue(topic, batches, at) for at in range(1, len(batches))])

    async def _enqueue(self, topic: str, batches: Sequence[Batch], at: int) -> asyncio.Task[None]:
        """Enqueue the batch at index ``at``; the task returned ends when it is written."""
        partition = self._partition.partition
        sent = await enqueue(self._ready(), topic, partition, batches[at])

        async def written() -> None:
            try:
                await sent
            except BatchRefusedError as error:
                first = sum(batch.record_count() for batch in batches[:at])
                indices = [first + index for index in error.indices]
                raise RecordsRefusedError(topic, partition, indices, error.why) from error

        task = asyncio.create_task(written())
        task.add_done_callback(retrieve)
        return task

    async def commit(self) -> None:
        """Commit the transaction."""
        self._open = False
        await self._ready().commit_transaction()

    async def close(self) -> None:
        """Abort an open transaction, for `ABORT_S` at most, and disconnect."""
        if self._open and self._producer is not None:
            await at_most(ABORT_S, self._producer.abort_transaction())
        await self._retire()

    def _ready(self) -> Producer:
        if self._producer is None:
            raise RuntimeError(f"{self._options['transactional_id']} is not claimed")
        return self._producer

    async def _retire(self) -> None:
        """Disconnect. The next claim of the id, or the timeout, ends an open transaction."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.disconnect()
