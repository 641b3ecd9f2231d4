"""The batch sink: many records for one partition, written as few batches, acknowledged by all.

It packs record batches itself (aiokafka's `create_batch` and `send_batch`), because a future, a
lock and a task per record are what makes a producer slow.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError
from aiokafka.producer.message_accumulator import BatchBuilder

from stream.transport.chunk import Record

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 1_000_000  # just under what brokers accept by default (message.max.bytes)


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


class RecordTooLargeError(ValueError):
    """A record that no batch can hold; nothing of its call to `send` was written.

    Attributes:
        topic: Topic it was meant for.
        partition: Partition number.
        index: Its index in the records that were passed to `send`.
        size: Bytes it needs.
        limit: Bytes a batch may have.
    """

    def __init__(self, topic: str, partition: int, index: int, size: int, limit: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: record {index} needs {size} bytes, a batch holds {limit}; "
            "raise max_batch_bytes and the broker's message.max.bytes, or send less"
        )
        self.topic = topic
        self.partition = partition
        self.index = index
        self.size = size
        self.limit = limit


class ChunkSink:
    """Writes batches with ``acks=all``; an async context manager.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        max_batch_bytes: Size of a batch; no larger than the broker's ``message.max.bytes``.
        compression: As aiokafka's ``compression_type``.

    The producer is idempotent (the broker drops what a retry repeats) wherever the broker gives
    out producer ids; the embedded one does not, and `idempotent` says so after the start.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        compression: str | None = None,
    ) -> None:
        self._options = dict(client)
        self._max_batch_bytes = max_batch_bytes
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self.idempotent = True

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: If no broker can be reached, or it refuses the client.
        """
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
            compression_type=self._compression,
            max_batch_size=self._max_batch_bytes,
            max_request_size=4 * self._max_batch_bytes,
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

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Write `records` in order; returns when the broker has acknowledged all of them.

        Any number of calls may be under way at once for different partitions. Order between
        calls for the same partition holds only if the second is made after the first returned.

        Raises:
            RecordTooLargeError: If a record does not fit a batch; nothing was written.
            KafkaError: If the broker did not take a batch; batches before it may have been
                written, so the caller must not acknowledge their source.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("the sink is not started")
        written = [
            await producer.send_batch(batch, topic, partition=partition)
            for batch in self._pack(producer, topic, partition, records)
        ]
        await asyncio.gather(*written)

    def _pack(
        self, producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]
    ) -> list[BatchBuilder]:
        """Cut `records` into full batches. Timestamps are in milliseconds."""
        batches: list[BatchBuilder] = []
        append = _full
        for index, record in enumerate(records):
            at, key, value = record.timestamp, record.key, record.value
            headers = list(record.headers) if record.headers else []
            # Spelled out twice: passing the fields as a dict costs half as much again.
            if append(timestamp=at, key=key, value=value, headers=headers) is None:
                batch = producer.create_batch()
                append = batch.append
                append(timestamp=at, key=key, value=value, headers=headers)
                if batch.size() > self._max_batch_bytes:
                    raise RecordTooLargeError(
                        topic, partition, index, batch.size(), self._max_batch_bytes
                    )
                batches.append(batch)
        return batches


def _full(**_row: object) -> None:
    """The batch before the first one."""
