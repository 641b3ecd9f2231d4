"""A producer of records that no well-behaved client writes: any header, timestamp and codec."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from chaos.hostile.values import Record
from models.settings import KafkaSettings
from stream.kafka.client import client_options

CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
BATCH_BYTES: Final = 990_000
FARTHEST: Final = 2**62
"""Maximum difference of timestamps in a batch, ms; the format has 64 bits for it."""


class _Name(str):
    """A header name of arbitrary bytes; the batch builder encodes it like any text."""

    raw: bytes
    __slots__ = ("raw",)

    def __new__(cls, raw: bytes) -> Self:
        name = super().__new__(cls, raw.decode("latin-1"))
        name.raw = raw
        return name

    def encode(self, *_: object) -> bytes:
        return self.raw


def _size(record: Record) -> int:
    """Approximate size of a record in a batch, in bytes."""
    headers = sum(len(name) + len(content or b"") + 10 for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + 40


class HostileProducer:
    """Writes batches with each codec in turn; an async context manager.

    Args:
        kafka: Brokers.

    Attributes:
        last_offset: Offset of the last written record.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self.last_offset = -1
        self._options: Mapping[str, Any] = client_options(kafka)
        self._turn = 0

    async def __aenter__(self) -> Self:
        self._producers = [
            AIOKafkaProducer(
                **self._options,
                acks="all",
                enable_idempotence=False,
                max_batch_size=BATCH_BYTES,
                max_request_size=2_000_000,
                compression_type=codec,
            )
            for codec in CODECS
        ]
        for producer in self._producers:
            await producer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for producer in self._producers:
            await producer.stop()

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Write records in order as batches of one codec; returns once they are acknowledged.

        Records that the broker refuses (without a key, for a compacted topic) do not count.

        Returns:
            Number of accepted records.
        """
        self._turn += 1
        at = taken = 0
        while at < len(records):
            stop = self._batch_end(records, at)
            taken += await self._send_or_halve(topic, partition, records[at:stop])
            at = stop
        return taken

    async def _send_or_halve(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        try:
            await self._send_batch(topic, partition, records)
        except KafkaError:
            if len(records) == 1:
                return 0
            half = len(records) // 2
            first = await self._send_or_halve(topic, partition, records[:half])
            return first + await self._send_or_halve(topic, partition, records[half:])
        return len(records)

    def _batch_end(self, records: Sequence[Record], start: int) -> int:
        """End of the records from `start` on that fit into a batch, at least one."""
        size, at = 0, start
        while at < len(records):
            record = records[at]
            size += _size(record)
            far = abs(record.timestamp - records[start].timestamp) > FARTHEST
            if at > start and (far or size > BATCH_BYTES):
                break
            at += 1
        return at

    async def _send_batch(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        number = self._turn % len(CODECS)
        if number == 0 and _size(records[0]) > BATCH_BYTES:
            number = 1  # no broker accepts it uncompressed
        producer = self._producers[number]
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(
            2, [0, 1, 2, 3, 4][number], 0, -1, -1, 0, 2 * BATCH_BYTES
        )
        for place, record in enumerate(records):
            headers = [(cast(str, _Name(name)), content) for name, content in record.headers]
            batch._builder.append(place, record.timestamp, record.key, record.value, headers)
        batch._relative_offset = len(records)
        batch.close()
        written = await (await producer.send_batch(batch, topic, partition=partition))
        self.last_offset = written.offset + len(records) - 1
