"""Exactly once: a sink that commits a chunk's outputs and its offset in one Kafka transaction.

Per input partition there is a producer with a transactional id of its own, the same one on every
worker; `lane` says why that is enough. Downstream must read ``read_committed``.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownError, UnsupportedVersionError
from aiokafka.producer import sender

from stream.transport.chunk import Chunk, Outputs, RecordsRefusedError
from stream.transport.incidents import Incidents
from stream.transport.lane import Instead, Lane, ReleasedError, all_of
from stream.transport.output.batches import enqueue, pack
from stream.transport.output.building import Batch
from stream.transport.output.outputs import OutputTopics
from stream.transport.output.producing import BatchRefusedError, calm
from stream.transport.output.quiet import quiet
from stream.transport.output.sink import CLOSE_S, at_most
from stream.transport.output.waiting import Waiting

logger = logging.getLogger(__name__)

REQUEST_S: Final = 15.0  # until a broker that does not answer is given up
ABORT_S: Final = 1.0  # what a lane that is released spends on aborting, so that readers go on

#: Brokers since 3.6 check a partition's part in a transaction and often ask for one more try.
RETRY_MS: Final = 10

#: While the broker writes the markers of a transaction, for a millisecond or two, it refuses the
#: next one of the same id. aiokafka then waits for 20 ms, most of the time that a commit takes.
NEXT_TRANSACTION_S: Final = 0.002
sender.BACKOFF_OVERRIDE = NEXT_TRANSACTION_S

#: Least time between two transactions of a partition. However little one holds, it costs the broker
#: some ten writes; without a pause, the queue there took more time than the pause.
INTERVAL_S: Final = 0.03

Packed = dict[str, list[Batch]]  # by topic


class TransactionsUnsupportedError(RuntimeError):
    """The broker knows no transactions."""


class TransactionalSink:
    """Writes each chunk in a transaction.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        group: The consumer group whose offsets are committed; also begins each transactional id,
            ``<group>-<topic>-<partition>``.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        heartbeat_s: The group's heartbeat interval. A fenced lane waits for three of them to be
            released before it concludes that it still owns its partition.
        transaction_timeout_s: After this the broker aborts a transaction whose worker is gone and
            whose partition nobody has taken over; until then it holds back readers.
        compression: What packs batches: one of `stream.kafka.batches.CODECS`.
        incidents: Told of topics that are missing, and of what they refuse.
    """

    commits = True

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        topics: Iterable[str],
        *,
        heartbeat_s: float,
        transaction_timeout_s: float = 60.0,
        compression: str = "none",
        incidents: Incidents | None = None,
    ) -> None:
        self._client = dict(client)
        self._group = group
        self._incidents = incidents or Incidents()
        self._topics = OutputTopics(client, topics)
        self._waiting = Waiting(self._topics.ailments, self._incidents)
        self._grace_s = 3 * heartbeat_s
        self._options: dict[str, Any] = {
            **self._client,
            "transaction_timeout_ms": int(transaction_timeout_s * 1000),
            "request_timeout_ms": int(REQUEST_S * 1000),
            "retry_backoff_ms": RETRY_MS,
        }
        self._compression = compression
        self._lanes: dict[tuple[str, int], Lane[Packed]] = {}
        self._offsets = GroupOffsets(self._client, group)

    async def start(self) -> None:
        """Connect, and see that the broker knows transactions.

        Raises:
            TransactionsUnsupportedError: If it does not.
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        quiet()
        await self._topics.start()
        probe = AIOKafkaProducer(**self._client, enable_idempotence=True)
        try:
            await probe.start()
        except (UnknownError, UnsupportedVersionError) as error:
            raise TransactionsUnsupportedError(
                f"the broker gives out no producer ids ({error!r}), so it has no transactions; "
                "use Apache Kafka, or the guarantee at-least-once"
            ) from error
        finally:
            await probe.stop()
        await self._offsets.start()
        self._waiting.start()

    async def stop(self) -> None:
        """Release everything and disconnect."""
        await self._waiting.stop()
        await self.release(list(self._lanes))
        await self._offsets.stop()

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which have been filtered before; see `OutputTopics.filtered`."""
        return await self._topics.filtered(partitions)

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Fence whoever wrote these partitions before; see `Sink.claim`.

        Raises:
            PartitionsError: If an output topic has too few partitions.
            KafkaError: One that no repetition mends; others are retried until the release.
        """
        await self.release(list(self._lanes))
        owned = list(partitions)
        await self._topics.fit(owned)
        self._lanes = {key: self._new_lane(*key) for key in owned}
        await all_of(*(lane.claim() for lane in self._lanes.values()))

    def _new_lane(self, topic: str, partition: int) -> Lane[Packed]:
        tp = TopicPartition(topic, partition)
        transactions = KafkaTransactions(
            self._options,
            self._group,
            tp,
            self._offsets,
            self._topics,
            self._incidents,
            codec=self._compression,
        )
        name = f"{topic}[{partition}]"
        return Lane(name, transactions, grace_s=self._grace_s, interval_s=INTERVAL_S)

    async def drain(self) -> None:
        """Give up the lanes that another producer has fenced, or that are still to be claimed."""
        await self.release([key for key, lane in self._lanes.items() if not lane.claimed])

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Give these up; see `Sink.release`."""
        lanes = [self._lanes.pop(key) for key in partitions if key in self._lanes]
        await all_of(*(lane.release() for lane in lanes))

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None = None) -> None:
        """Commit a chunk; see `Sink.write`.

        Raises:
            ReleasedError: If the partition was revoked before.
            LaneError: If somebody else moved the group's offset.
            RecordsRefusedError: If a topic does not take some and there is no `instead`.
            KafkaError: One that no repetition mends; nothing was committed.
        """
        lane = self._lanes.get((chunk.topic, chunk.partition))
        if lane is None:
            raise ReleasedError(repr(chunk))
        with self._waiting.writing(chunk.partition, (t for t, rows in outputs.items() if rows)):
            await lane.write(chunk.start, chunk.next_offset, outputs, instead)


class GroupOffsets:
    """What a group has committed, asked of its coordinator; no member of the group."""

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
        """The committed offset, None where there is none. No cache: transactions move it."""
        assert self._consumer is not None
        offset: int | None = await self._consumer.committed(partition)
        return offset


class KafkaTransactions:
    """One partition's transactional producer; see `lane.Transactions`.

    Args:
        options: Options of the aiokafka producer.
        group: The consumer group.
        partition: The input partition.
        offsets: Where its committed offset is looked up.
        topics: What the output topics take.
        incidents: Told of what they refuse.
        codec: What packs batches.
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
        self._producer: AIOKafkaProducer | None = None
        self._open = False

    async def claim(self) -> int | None:
        """Take a new epoch; see `lane.Transactions.claim`."""
        self._open = False
        await self._retire()
        self._producer = calm(AIOKafkaProducer(**self._options), self._incidents)
        await self._producer.start()
        return await self._offsets.committed(self._partition)

    def pack(self, outputs: Outputs) -> Packed:
        """Make record batches; see `lane.Transactions.pack`."""
        producer, partition = self._ready(), self._partition.partition
        size = self._topics.batch_bytes
        for topic, records in outputs.items():
            self._topics.check(topic, partition, records)
        return {
            topic: pack(producer, topic, partition, records, size, self._codec)
            for topic, records in outputs.items()
        }

    async def begin(self) -> None:
        """Begin a transaction."""
        await self._ready().begin_transaction()
        self._open = True

    async def write(self, packed: Packed, offset: int) -> None:
        """Write into the transaction; see `lane.Transactions.write`.

        The first batch of every topic is enqueued first: a request for the output partitions is
        what should meet the end of the transaction before, because aiokafka tries that one again
        after `NEXT_TRANSACTION_S`, and one for the offsets after a tenth of a second.
        """
        producer = self._ready()
        sent = [
            await self._enqueue(topic, batches, 0) for topic, batches in packed.items() if batches
        ]
        await all_of(
            *sent,
            producer.send_offsets_to_transaction({self._partition: offset}, self._group),
            *(self._send_rest(topic, batches) for topic, batches in packed.items()),
        )

    async def _send_rest(self, topic: str, batches: Sequence[Batch]) -> None:
        await all_of(*[await self._enqueue(topic, batches, at) for at in range(1, len(batches))])

    async def _enqueue(self, topic: str, batches: Sequence[Batch], at: int) -> asyncio.Task[None]:
        """Enqueue the batch ``at``; what is returned is done when it is written."""
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
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def commit(self) -> None:
        """Commit the transaction."""
        self._open = False
        await self._ready().commit_transaction()

    async def close(self) -> None:
        """Abort what is open, if that takes no more than `ABORT_S`, and disconnect."""
        if self._open and self._producer is not None:
            await at_most(ABORT_S, self._producer.abort_transaction())
        await self._retire()

    def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError(f"{self._options['transactional_id']} is not claimed")
        return self._producer

    async def _retire(self) -> None:
        """Disconnect. An open transaction is left to the next claim of the id, or to time."""
        producer, self._producer = self._producer, None
        if producer is not None and not await at_most(CLOSE_S, producer.stop()):
            await at_most(CLOSE_S, producer.client.close())
