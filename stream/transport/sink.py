"""Sinks: where the outputs of a chunk go. This one writes at least once.

A sink is claimed for the partitions that its consumer owns, takes chunks of them while they are
owned, and is released when they are revoked. `ChunkSink` writes a chunk's outputs and leaves the
offsets to the consumer; `TransactionalSink` (next door) commits both in one transaction.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError

from stream.transport.batches import MAX_BATCH_BYTES, batch_limit, enqueue, pack
from stream.transport.building import Batch
from stream.transport.chunk import Chunk, Outputs, Record, RecordTooLargeError
from stream.transport.lane import Shrink

logger = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A record to write; a fetched record can be written as it is.

    Attributes:
        key: Key, or None.
        value: Value, or None for a tombstone.
        timestamp: Milliseconds since the epoch.
        headers: Pairs of name and value.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()


class Sink(Protocol):
    """What `relay` writes to, and the consumer claims.

    Attributes:
        commits: Whether `write` commits the chunk's offset too; otherwise the consumer does.
    """

    commits: bool

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Own these (topic, partition) and no others, before their offsets are looked up."""

    async def drain(self) -> None:
        """All that is owned is about to be revoked: give up what cannot be written at once."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Give these up: they are revoked. A `write` under way ends or raises ReleasedError."""

    async def write(self, chunk: Chunk, outputs: Outputs, shrink: Shrink | None) -> None:
        """Write a chunk's outputs onto its partition number; returns when they are safe.

        Chunks of one partition come in order; one need not be safe before the next is given.

        Args:
            chunk: Where they come from.
            outputs: What to write.
            shrink: What to write instead, if a record does not fit a batch.

        Raises:
            ReleasedError: If the partition was revoked before.
            RecordTooLargeError: If a record does not fit a batch and there is no `shrink`.
            KafkaError: If the outputs cannot be written; the chunk's offset is not committed.
        """


class ChunkSink:
    """Writes with ``acks=all``; an async context manager.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        max_batch_bytes: Batches keep to this, too.
        compression: What packs batches: one of `models.batches.CODECS`.

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
    ) -> None:
        self._options = dict(client)
        self._topics = tuple(topics)
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
        if self._topics:
            limit = await batch_limit(self._options, self._topics)
            self._batch_bytes = min(self._batch_bytes, limit)
        try:
            self._producer = await self._connect()
        except (UnknownError, UnsupportedVersionError) as error:
            logger.warning("no producer ids on this broker (%r): a retry may repeat records", error)
            self.idempotent = False
            self._producer = await self._connect()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._options,
            acks="all",
            enable_idempotence=self.idempotent,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def stop(self) -> None:
        """Write what is under way and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

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

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Nothing is to be fenced: two owners of a partition may both write."""

    async def drain(self) -> None:
        """What is under way goes on."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Nothing is held."""

    async def write(self, chunk: Chunk, outputs: Outputs, shrink: Shrink | None = None) -> None:
        """Write a chunk's outputs; see `Sink.write`. On an error some may have been written."""
        while True:
            try:
                packed = {
                    topic: self._pack(topic, chunk.partition, records)
                    for topic, records in outputs.items()
                }
            except RecordTooLargeError as error:
                if shrink is None:
                    raise
                outputs = shrink(outputs, error)
            else:
                break
        await asyncio.gather(
            *(self._send(topic, chunk.partition, batches) for topic, batches in packed.items())
        )

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Write `records` in order; returns when the broker has acknowledged all of them.

        Any number of calls may be under way; those for one partition are written in their order.

        Raises:
            RecordTooLargeError: If a record does not fit a batch; nothing was written.
            KafkaError: If the broker did not take a batch; batches before it may have been
                written, so the caller must not acknowledge their source.
        """
        await self._send(topic, partition, self._pack(topic, partition, records))

    def _pack(self, topic: str, partition: int, records: Sequence[Record]) -> list[Batch]:
        producer, codec = self._started(), self._compression
        return pack(producer, topic, partition, records, self._batch_bytes, codec)

    async def _send(self, topic: str, partition: int, batches: Sequence[Batch]) -> None:
        producer = self._started()
        async with self._turns[topic, partition]:
            sent = [await enqueue(producer, topic, partition, batch) for batch in batches]
        await asyncio.gather(*sent)

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the sink is not started")
        return self._producer
