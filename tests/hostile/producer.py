"""A producer that writes what no well-behaved client would: any header names, times and codecs."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from models.kafka import client_options
from models.settings import KafkaSettings
from tests.hostile.strategies import Record

CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
BATCH_BYTES: Final = 990_000
FARTHEST: Final = 2**62
"""Milliseconds between two times in a batch; the format has 64 bits for the difference."""


class _Name(str):
    """A header's name whose bytes are given; the batch builder asks for them as for any text."""

    __slots__ = ("raw",)

    def __new__(cls, raw: bytes) -> Self:
        name = super().__new__(cls, raw.decode("latin-1"))
        name.raw = raw
        return name

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return self.raw


class HostileProducer:
    """Writes batches with each codec in turn; an async context manager.

    Args:
        kafka: Brokers.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
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

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Write records, in order, as batches of one codec; returns when the broker has them."""
        self._turn += 1
        at = 0
        while at < len(records):
            at = await self._send_batch(topic, partition, records, at)

    async def _send_batch(
        self, topic: str, partition: int, records: Sequence[Record], start: int
    ) -> int:
        number = self._turn % len(CODECS)
        producer = self._producers[number]
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(
            2, [0, 1, 2, 3, 4][number], 0, -1, -1, 0, BATCH_BYTES
        )
        at = start
        for record in records[start:]:
            headers = [(cast(str, _Name(name)), content) for name, content in record.headers]
            if abs(record.timestamp - records[start].timestamp) > FARTHEST:
                break
            added = batch._builder.append(
                at - start, record.timestamp, record.key, record.value, headers
            )
            if added is None:
                break
            at += 1
        assert at > start, f"a record of {len(records[at].value or b'')} bytes fits no batch"
        batch._relative_offset = at - start
        batch.close()
        await (await producer.send_batch(batch, topic, partition=partition))
        return at
