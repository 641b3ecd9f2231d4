"""Sends whole record batches to one topic; used by publisher and downstream.

Records with a key go to the partition of the key's xxh3 hash, others round-robin. The order within
each partition is kept.
"""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import xxhash
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from models.errors import UserError

Headers = list[tuple[str, bytes]]

BATCH_BYTES: Final = 524_288
IN_FLIGHT: Final = 8
"""Batches in flight above which :meth:`BatchSender.flush` waits for the oldest."""


class SendError(UserError, RuntimeError):
    """The topic for requests or outcomes does not exist."""


class BatchSender:
    """Sends to one topic; use it as an async context manager.

    Args:
        options: aiokafka client options, see :func:`stream.kafka.client.client_options`.
        topic: Topic that records are sent to.
    """

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._topic = topic
        self._options = options
        self._builders: dict[int, BatchBuilder] = {}
        self._under_way: list[asyncio.Future[Any]] = []
        self._unkeyed = 0

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self._options, max_batch_size=BATCH_BYTES, max_request_size=16 * BATCH_BYTES
        )
        await self._producer.start()
        cluster = await self._producer.client.fetch_all_metadata()
        partitions = cluster.partitions_for_topic(self._topic)
        if not partitions:
            await self._producer.stop()
            raise SendError(f"{self._topic}: no such topic; `weir topics` creates it")
        self._partitions = len(partitions)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._producer.stop()

    async def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Headers | None = None,
    ) -> None:
        """Add a record; full batches are sent, others when :meth:`flush` is called."""
        if key is None:
            partition, self._unkeyed = self._unkeyed % self._partitions, self._unkeyed + 1
        else:
            partition = xxhash.xxh3_64_intdigest(key) % self._partitions
        builder = self._builders.get(partition)
        if builder is None:
            builder = self._builders[partition] = self._producer.create_batch()
        if builder.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
            await self._send(partition)
            builder = self._builders[partition] = self._producer.create_batch()
            builder.append(key=key, value=value, timestamp=timestamp_ms, headers=headers)

    async def flush(self) -> None:
        """Send all appended records; wait only while too many batches are in flight."""
        for partition in list(self._builders):
            await self._send(partition)

    async def drain(self) -> None:
        """Send all appended records and wait until the broker has acknowledged them."""
        await self.flush()
        while self._under_way:
            await self._under_way.pop(0)

    async def _send(self, partition: int) -> None:
        builder = self._builders.pop(partition)
        future = await self._producer.send_batch(builder, self._topic, partition=partition)
        self._under_way.append(future)
        while len(self._under_way) > IN_FLIGHT:
            await self._under_way.pop(0)
