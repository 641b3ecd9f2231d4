"""Builders of record batches: compressed by any codec, with any timestamps and header names.

aiokafka's builder compresses at levels that cost more than they save here, accepts only header
names in UTF-8, and treats a first timestamp of -1 as a missing one.
"""

# ruff: noqa: SLF001

import struct
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from stream.kafka.batches import CODECS, compress

#: aiokafka's builder treats this first timestamp as a missing one.
_NO_TIMESTAMP: Final = -1
_HEADER_BYTES: Final = 61
_LENGTH: Final = struct.Struct(">i")
_LENGTH_AT: Final = 8
_CRC: Final = struct.Struct(">I")
_CRC_AT: Final = 17
_ATTRIBUTES: Final = struct.Struct(">h")
_ATTRIBUTES_AT: Final = 21
_BEFORE_LENGTH: Final = 12


class Batch(BatchBuilder):  # type: ignore[misc]
    """A batch that is compressed when it is sent.

    Args:
        producer: The producer that will send it.
        batch_bytes: Maximum size of the batch, uncompressed.
        codec: One of `stream.kafka.batches.CODECS`.
    """

    def __init__(self, producer: AIOKafkaProducer, batch_bytes: int, codec: str) -> None:
        transactions = producer._txn_manager
        self._transactional = bool(transactions and transactions.transactional_id)
        super().__init__(batch_bytes, 0, is_transactional=self._transactional)
        self._codec = codec

    _buffer: bytes | bytearray | None

    def _set_producer_state(self, *state: Any, **named: Any) -> None:
        self._builder.set_producer_state(*state, **named)

    def _build(self) -> bytes | bytearray:
        if self._buffer is None:
            self._buffer = compressed(super()._build(), self._codec)
        return self._buffer


class AnyEnvelopeBatch(Batch):
    """A batch for any timestamps and header names; takes 3 us more per record to fill."""

    def __init__(self, producer: AIOKafkaProducer, batch_bytes: int, codec: str) -> None:
        super().__init__(producer, batch_bytes, codec)
        self._builder = _DefaultRecordBatchBuilderPy(
            magic=2,
            compression_type=0,
            is_transactional=self._transactional,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=batch_bytes,
        )

    def append(self, **row: Any) -> Any:
        """Add a record; None if the batch is full, or a timestamp is too far from its first one."""
        try:
            return super().append(**row)
        except OverflowError:  # the difference does not fit 64 bits
            self.close()
            return None


def new_batch(producer: AIOKafkaProducer, batch_bytes: int, codec: str, first_ms: int) -> Batch:
    """A batch whose first record has this timestamp, for header names in UTF-8."""
    kind = Batch if first_ms != _NO_TIMESTAMP else AnyEnvelopeBatch
    return kind(producer, batch_bytes, codec)


def compressed(plain: bytearray, codec: str) -> bytes | bytearray:
    """The batch with its records compressed; unchanged if that would not make it smaller."""
    if codec == "none":
        return plain
    payload = compress(codec, bytes(memoryview(plain)[_HEADER_BYTES:]))
    if _HEADER_BYTES + len(payload) >= len(plain):
        return plain
    head = bytearray(plain[:_HEADER_BYTES])
    (attributes,) = _ATTRIBUTES.unpack_from(head, _ATTRIBUTES_AT)
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, attributes | CODECS[codec])
    _LENGTH.pack_into(head, _LENGTH_AT, _HEADER_BYTES - _BEFORE_LENGTH + len(payload))
    whole = head + payload
    _CRC.pack_into(whole, _CRC_AT, calc_crc32c(whole[_ATTRIBUTES_AT:]))
    return whole
