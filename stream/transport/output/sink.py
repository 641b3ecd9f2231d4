"""Sinks: where the outputs of a chunk go. This one writes at least once.

A sink is claimed for the partitions that its consumer owns, takes chunks of them while they are
owned, and is released when they are revoked. `ChunkSink` writes a chunk's outputs and leaves the
offsets to the consumer; `TransactionalSink` (next door) commits both in one transaction.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError

from stream.transport.chunk import Chunk, Outputs, Record, RecordsRefusedError
from stream.transport.incidents import Incidents
from stream.transport.lane import Instead
from stream.transport.output.batches import MAX_BATCH_BYTES, enqueue, pack
from stream.transport.output.building import Batch
from stream.transport.output.outputs import OutputTopics
from stream.transport.output.producing import BatchRefusedError, calm
from stream.transport.output.quiet import quiet
from stream.transport.output.waiting import Waiting

logger = logging.getLogger(__name__)

CLOSE_S: Final = 5.0


class Outgoing(NamedTuple):
    """A record to write; a fetched record can be written as it is.

    Attributes:
        key: Key, or None.
        value: Value, or None for a tombstone.
        timestamp: Milliseconds since the epoch.
        headers: Pairs of name and value.
        source: Offset of the input record that it is made from, if there is one.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()
    source: int | None = None


class Sink(Protocol):
    """What `relay` writes to, and the consumer claims.

    Attributes:
        commits: Whether `write` commits the chunk's offset too; otherwise the consumer does.
    """

    commits: bool

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which of these input partitions have records on the output topics."""

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Own these (topic, partition) and no others, before their offsets are looked up.

        Raises:
            PartitionsError: If an output topic has too few partitions.
        """

    async def drain(self) -> None:
        """All that is owned is about to be revoked: give up what cannot be written at once."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Give these up: they are revoked. A `write` under way ends or raises ReleasedError."""

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None) -> None:
        """Write a chunk's outputs onto its partition number; returns when they are safe.

        Chunks of one partition come in order; one need not be safe before the next is given.

        Args:
            chunk: Where they come from.
            outputs: What to write.
            instead: What to write instead, if a topic does not take some of it.

        Raises:
            ReleasedError: If the partition was revoked before.
            RecordsRefusedError: If a topic does not take some of it and there is no `instead`.
            KafkaError: If the outputs cannot be written; the chunk's offset is not committed.
        """


class ChunkSink:
    """Writes with ``acks=all``; an async context manager.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        max_batch_bytes: Batches keep to this, too.
        compression: What packs batches: one of `stream.kafka.batches.CODECS`.
        incidents: Told of topics that are missing, and of what they refuse.

    The producer is idempotent (the broker drops what a retry repeats) wherever the broker gives
    out producer ids; the embedded one does not, and `idempotent` says so after the start.
    """

    commits = False

    def __init__(
        self,
        client: Mapping[str, Any],
        topics: Iterable[str] = (),
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        compression: str = "none",
        incidents: Incidents | None = None,
    ) -> None:
        self._options = dict(client)
        self._incidents = incidents or Incidents()
        self._topics = OutputTopics(client, topics)
        self._waiting = Waiting(self._topics.ailments, self._incidents)
        self._batch_bytes = max_batch_bytes
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.idempotent = True

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        quiet()
        await self._topics.start()
        if self._topics.topics:
            self._batch_bytes = min(self._batch_bytes, self._topics.batch_bytes)
        try:
            self._producer = await self._connect()
        except (UnknownError, UnsupportedVersionError) as error:
            logger.warning(
                "the brokers give out no producer ids (%s; the embedded broker has none): a retry "
                "may repeat records",
                type(error).__name__,
            )
            self.idempotent = False
            self._producer = await self._connect()
        self._waiting.start()

    async def _connect(self) -> AIOKafkaProducer:
        producer = calm(
            AIOKafkaProducer(
                **self._options,
                acks="all",
                enable_idempotence=self.idempotent,
            ),
            self._incidents,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def stop(self) -> None:
        """Write what is under way, if that takes no more than `CLOSE_S`, and disconnect."""
        await self._waiting.stop()
        producer, self._producer = self._producer, None
        if producer is not None and not await at_most(CLOSE_S, producer.stop()):
            await at_most(CLOSE_S, producer.client.close())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which have been filtered before; see `OutputTopics.filtered`."""
        return await self._topics.filtered(partitions)

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Nothing is to be fenced: two owners of a partition may both write."""
        await self._topics.fit(partitions)

    async def drain(self) -> None:
        """What is under way goes on."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Nothing is held."""

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None = None) -> None:
        """Write a chunk's outputs; see `Sink.write`. On an error some may have been written.

        What a topic's configuration says that it will not take is replaced before anything is
        written. What the topic itself then refuses is written again without the records to blame,
        behind what was written meanwhile.
        """
        with self._waiting.writing(chunk.partition, (t for t, rows in outputs.items() if rows)):
            while outputs:
                outputs, packed = self._pack_all(chunk.partition, outputs, instead)
                refused = await asyncio.gather(
                    *(self._deliver(topic, chunk.partition, packed[topic]) for topic in outputs)
                )
                outputs = _again(
                    outputs, [error for errors in refused for error in errors], instead
                )

    def _pack_all(
        self, partition: int, outputs: Outputs, instead: Instead | None
    ) -> tuple[Outputs, dict[str, list[Batch]]]:
        """Batches of outputs, and the outputs in them: what topics do not take is replaced."""
        while True:
            try:
                return outputs, {
                    topic: self._pack(topic, partition, records)
                    for topic, records in outputs.items()
                }
            except RecordsRefusedError as error:
                if instead is None:
                    raise
                outputs = instead(outputs, error)

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Write `records` in order; returns when the broker has acknowledged all of them.

        Any number of calls may be under way; those for one partition are written in their order.

        Raises:
            RecordsRefusedError: If a record does not fit a batch, or the topic does not take it;
                nothing of its batch was written.
            KafkaError: If the broker did not take a batch; batches before it may have been
                written, so the caller must not acknowledge their source.
        """
        batches = self._pack(topic, partition, records)
        with self._waiting.writing(partition, (topic,)):
            for refused in await self._deliver(topic, partition, batches):
                raise refused

    def _pack(self, topic: str, partition: int, records: Sequence[Record]) -> list[Batch]:
        self._topics.check(topic, partition, records)
        producer, codec = self._started(), self._compression
        return pack(producer, topic, partition, records, self._batch_bytes, codec)

    async def _deliver(
        self, topic: str, partition: int, batches: Sequence[Batch]
    ) -> list["SliceRefusedError"]:
        """Write batches in order; those that the topic refused."""
        producer = self._started()
        async with self._turns[topic, partition]:
            sent = [await enqueue(producer, topic, partition, batch) for batch in batches]
        refused = []
        for number, answer in enumerate(await asyncio.gather(*sent, return_exceptions=True)):
            if isinstance(answer, BatchRefusedError):
                first = sum(batch.record_count() for batch in batches[:number])
                count = batches[number].record_count()
                refused.append(SliceRefusedError(topic, partition, first, count, answer))
            elif isinstance(answer, BaseException):
                raise answer
        return refused

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the sink is not started")
        return self._producer


class SliceRefusedError(RecordsRefusedError):
    """A batch that a topic refused.

    Attributes:
        first: Index of its first record in the records of its topic.
        count: How many records it has.
    """

    def __init__(
        self, topic: str, partition: int, first: int, count: int, error: BatchRefusedError
    ) -> None:
        super().__init__(topic, partition, [first + index for index in error.indices], error.why)
        self.first = first
        self.count = count


def _again(
    outputs: Outputs, refused: Sequence[SliceRefusedError], instead: Instead | None
) -> Outputs:
    """What is still to be written after some batches were refused: what is left of them."""
    left: dict[str, list[Record]] = {topic: [] for topic in outputs} if refused else {}
    for batch in refused:
        if instead is None:
            raise batch
        rows = outputs[batch.topic][batch.first : batch.first + batch.count]
        part: Outputs = dict.fromkeys(outputs, ()) | {batch.topic: rows}
        mine = batch.within(batch.first, batch.first + batch.count)
        for topic, records in instead(part, mine).items():
            left[topic] += records
    return left


async def at_most(seconds: float, work: Coroutine[Any, Any, object]) -> bool:
    """Whether `work` ended well in time. Nothing of a producer that is given up matters more."""
    try:
        await asyncio.wait_for(work, seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is: the producer is gone after this
        logger.debug("on leaving a producer: %r", error)
        return False
    return True
