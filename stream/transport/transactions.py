"""Exactly once: a sink that commits a chunk's outputs and its offset in one Kafka transaction.

Per input partition there is a producer with a transactional id of its own, the same one on every
worker; `lane` says why that is enough. Downstream must read ``read_committed``.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import NotEnoughReplicasError, UnknownError, UnsupportedVersionError
from aiokafka.producer import sender

from stream.transport.batches import MAX_BATCH_BYTES, batch_limit, enqueue, pack
from stream.transport.building import Batch
from stream.transport.chunk import Chunk, Outputs
from stream.transport.lane import Lane, ReleasedError, Shrink, all_of

logger = logging.getLogger(__name__)

REQUEST_S: Final = 15.0  # until a broker that does not answer is given up
ABORT_S: Final = 1.0  # what a lane that is released spends on aborting, so that readers go on
CLOSE_S: Final = 5.0
SELDOM_S: Final = 60.0

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


class _Seldom(logging.Filter):
    """Lets one of the warnings through that a refused batch is sent again, now and then.

    A few of a hundred transactions meet the broker's check (see `RETRY_MS`), which it calls
    NotEnoughReplicas; an outage calls itself so too, and must still be seen.
    """

    _next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if NotEnoughReplicasError not in (record.args or ()):
            return True
        now_s = time.monotonic()
        shown = now_s >= self._next_s
        if shown:
            self._next_s = now_s + SELDOM_S
        return shown


_seldom = _Seldom()


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
        compression: What packs batches: one of `models.batches.CODECS`.
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
    ) -> None:
        self._client = dict(client)
        self._group = group
        self._topics = tuple(topics)
        self._grace_s = 3 * heartbeat_s
        self._options: dict[str, Any] = {
            **self._client,
            "transaction_timeout_ms": int(transaction_timeout_s * 1000),
            "request_timeout_ms": int(REQUEST_S * 1000),
            "retry_backoff_ms": RETRY_MS,
        }
        self._batch_bytes = MAX_BATCH_BYTES
        self._compression = compression
        self._lanes: dict[tuple[str, int], Lane[Packed]] = {}
        self._offsets = GroupOffsets(self._client, group)

    async def start(self) -> None:
        """Connect, and see that the broker knows transactions.

        Raises:
            TransactionsUnsupportedError: If it does not.
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        self._batch_bytes = await batch_limit(self._client, self._topics)
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
        sender.log.addFilter(_seldom)  # adding it twice changes nothing

    async def stop(self) -> None:
        """Release everything and disconnect."""
        await self.release(list(self._lanes))
        await self._offsets.stop()

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Fence whoever wrote these partitions before; see `Sink.claim`.

        Raises:
            KafkaError: One that no repetition mends; others are retried until the release.
        """
        await self.release(list(self._lanes))
        self._lanes = {key: self._new_lane(*key) for key in partitions}
        await all_of(*(lane.claim() for lane in self._lanes.values()))

    def _new_lane(self, topic: str, partition: int) -> Lane[Packed]:
        tp = TopicPartition(topic, partition)
        transactions = KafkaTransactions(
            self._options,
            self._group,
            tp,
            self._offsets,
            batch_bytes=self._batch_bytes,
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

    async def write(self, chunk: Chunk, outputs: Outputs, shrink: Shrink | None = None) -> None:
        """Commit a chunk; see `Sink.write`.

        Raises:
            ReleasedError: If the partition was revoked before.
            LaneError: If somebody else moved the group's offset.
            RecordTooLargeError: If a record does not fit a batch and there is no `shrink`.
            KafkaError: One that no repetition mends; nothing was committed.
        """
        lane = self._lanes.get((chunk.topic, chunk.partition))
        if lane is None:
            raise ReleasedError(repr(chunk))
        await lane.write(chunk.start, chunk.next_offset, outputs, shrink)


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
        batch_bytes: Size of a batch, before it is packed.
        codec: What packs it.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        group: str,
        partition: TopicPartition,
        offsets: GroupOffsets,
        *,
        batch_bytes: int = MAX_BATCH_BYTES,
        codec: str = "none",
    ) -> None:
        self._options = dict(options)
        self._options["transactional_id"] = f"{group}-{partition.topic}-{partition.partition}"
        self._batch_bytes = batch_bytes
        self._codec = codec
        self._group = group
        self._partition = partition
        self._offsets = offsets
        self._producer: AIOKafkaProducer | None = None
        self._open = False

    async def claim(self) -> int | None:
        """Take a new epoch; see `lane.Transactions.claim`."""
        self._open = False
        await self._retire()
        self._producer = AIOKafkaProducer(**self._options)
        await self._producer.start()
        return await self._offsets.committed(self._partition)

    def pack(self, outputs: Outputs) -> Packed:
        """Make record batches; see `lane.Transactions.pack`."""
        producer, partition = self._ready(), self._partition.partition
        return {
            topic: pack(producer, topic, partition, records, self._batch_bytes, self._codec)
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
        producer, partition = self._ready(), self._partition.partition
        sent = [
            await enqueue(producer, topic, partition, batches[0])
            for topic, batches in packed.items()
            if batches
        ]
        await all_of(
            *sent,
            producer.send_offsets_to_transaction({self._partition: offset}, self._group),
            *(self._send(topic, batches[1:]) for topic, batches in packed.items()),
        )

    async def _send(self, topic: str, batches: Sequence[Batch]) -> None:
        producer, partition = self._ready(), self._partition.partition
        await all_of(*[await enqueue(producer, topic, partition, batch) for batch in batches])

    async def commit(self) -> None:
        """Commit the transaction."""
        self._open = False
        await self._ready().commit_transaction()

    async def close(self) -> None:
        """Abort what is open, if that takes no more than `ABORT_S`, and disconnect."""
        if self._open and self._producer is not None:
            await _at_most(ABORT_S, self._producer.abort_transaction())
        await self._retire()

    def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError(f"{self._options['transactional_id']} is not claimed")
        return self._producer

    async def _retire(self) -> None:
        """Disconnect. An open transaction is left to the next claim of the id, or to time."""
        producer, self._producer = self._producer, None
        if producer is not None and not await _at_most(CLOSE_S, producer.stop()):
            await _at_most(CLOSE_S, producer.client.close())


async def _at_most(seconds: float, work: Coroutine[Any, Any, object]) -> bool:
    """Whether `work` ended well in time. Nothing of a producer that is given up matters more."""
    try:
        await asyncio.wait_for(work, seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is: the producer is gone after this
        logger.debug("on leaving a producer: %r", error)
        return False
    return True
