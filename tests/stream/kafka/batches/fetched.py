"""Record batches encoded byte by byte, and the records that are decoded from them."""

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

from stream.kafka.batches import CODECS, RefusedBatch, Unpacker, compress
from stream.kafka.batches.framing import RecordSet
from stream.kafka.batches.limits import Limits, Room
from stream.kafka.batches.partition_reader import Fetched, PartitionReader

AT = TopicPartition("requests", 3)
Row = tuple[int, bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]


def varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def body(delta: int, row: Row, first: int) -> bytes:
    timestamp, key, value, headers = row
    passed = timestamp - first
    passed = (passed + 2**63) % 2**64 - 2**63
    named = b"".join(sized(name) + sized(content) for name, content in headers)
    parts = (b"\0", varint(passed), varint(delta), sized(key), sized(value))
    return b"".join(parts) + varint(len(headers)) + named


def payload_of(rows: Sequence[Row]) -> bytes:
    bodies = (body(delta, row, rows[0][0]) for delta, row in enumerate(rows))
    return b"".join(sized(record) for record in bodies)


def frame(payload: bytes, *, base: int, count: int, first: int = 0, newest: int = 0,
          attributes: int = 0, last_delta: int | None = None) -> bytes:  # fmt: skip
    delta = count - 1 if last_delta is None else last_delta
    tail = struct.pack(
        ">hiqqqhii", attributes, delta, first, newest, -1, -1, -1, count
    )  # fmt: skip
    checked = tail + payload
    head = struct.pack(">qiibI", base, 9 + len(checked), -1, 2, calc_crc32c(checked))
    return head + checked


def batch(rows: Sequence[Row], base: int = 0, codec: str = "none", attributes: int = 0) -> bytes:
    payload = payload_of(rows)
    packed = payload if codec == "none" else compress(codec, payload)
    stamps = [row[0] for row in rows]
    return frame(packed, base=base, count=len(rows), first=stamps[0], newest=max(stamps),
                 attributes=attributes | CODECS[codec])  # fmt: skip


class Reader(PartitionReader):
    """A reader that has the room of a whole fetch for every `take`."""

    def take(self, most: int | None) -> list[Fetched]:
        self._limits.room.left = self._limits.max_bytes
        return super().take(most)


def reader(
    data: bytes, *, start: int = 0, limit: int = 4_000_000, keep: bool = True, room: int = 1 << 20
) -> tuple[PartitionReader, list[RefusedBatch]]:
    refused: list[RefusedBatch] = []
    bounds = Limits(Unpacker(limit), refused.append, keep, room, Room(room))
    return Reader(bounds, AT, RecordSet(data), [], start, None, None, True, 1), refused


def read(data: bytes, most: int = 7, **options: Any) -> list[Fetched]:
    """All records that a reader delivers."""
    reading, _ = reader(data, **options)
    out: list[Fetched] = []
    while not reading.exhausted:
        out += reading.take(most)
    return out


def row_of(record: Fetched) -> Row:
    headers = [(name.encode(), content) for name, content in record.headers]
    return record.timestamp, record.key, record.value, headers


class RawBatch(BatchBuilder):
    """A batch of given bytes, for a producer's ``send_batch``."""

    def __init__(self, data: bytes, records: int) -> None:
        super().__init__(1_000_000, 0)
        self._raw = data
        self._relative_offset = records

    def _build(self) -> bytes:
        self.close()
        self._buffer = self._raw
        return self._raw

    def size(self) -> int:
        return len(self._raw)


async def send_raw(
    client: dict[str, Any], topic: str, partition: int, batches: Sequence[tuple[bytes, int]]
) -> None:
    """Write batches as they are, each with its number of records."""
    async with AIOKafkaProducer(**client, acks="all") as producer:
        for data, records in batches:
            sent = await producer.send_batch(RawBatch(data, records), topic, partition=partition)
            await sent
