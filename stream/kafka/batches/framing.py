"""The framing of record batches: the batches in the bytes of a fetch, and their headers."""

from struct import Struct
from typing import Final, NamedTuple

_PREFIX: Final = Struct(">qiib")  # base offset, length, leader epoch, format; in all formats
_BEFORE_LENGTH: Final = 12
_HEADER: Final = Struct(">qiibIhiqqqhii")
_ATTRIBUTES: Final = Struct(">h")
_ATTRIBUTES_AT: Final = 21
_CODEC: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08

HEADER_BYTES: Final = _HEADER.size
FORMAT: Final = 2  # "magic" 2; 0 and 1 are the message formats before Kafka 0.11


class FrameError(ValueError):
    """A batch whose header cannot be decoded."""


class Header(NamedTuple):
    """The header of a batch."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def codec(self) -> int:
        """Number of the codec of the records, 0 for none."""
        return self.attributes & _CODEC

    @property
    def log_append_time(self) -> bool:
        """Whether all records have the broker's timestamp, which is `max_timestamp`."""
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def last_offset(self) -> int:
        """The last offset that the batch covers."""
        return self.base_offset + max(self.last_offset_delta, 0)


def read_prefix(batch: memoryview) -> tuple[int, int]:
    """Base offset and format of a batch, in any format."""
    base_offset, _, _, magic = _PREFIX.unpack_from(batch)
    return base_offset, magic


def read_header(batch: memoryview) -> Header:
    """The header of a batch of format 2.

    Raises:
        FrameError: If the batch is too short.
    """
    if len(batch) < HEADER_BYTES:
        raise FrameError(f"a batch of {len(batch)} bytes, its header has {HEADER_BYTES}")
    return Header(*_HEADER.unpack_from(batch))


def plain_head(batch: memoryview, header: Header) -> bytes:
    """The header of the batch as it would be without compression."""
    head = bytearray(batch[:HEADER_BYTES])
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, header.attributes & ~_CODEC)
    return bytes(head)


class RecordSet:
    """The batches that a fetch returned for one partition; the last one may be truncated.

    It replaces aiokafka's ``MemoryRecords``, which does not give access to the bytes of a batch.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def has_next(self) -> bool:
        """Whether there is another complete batch."""
        return self._end() is not None

    def size_in_bytes(self) -> int:
        """Bytes that were fetched."""
        return len(self._data)

    def peek(self) -> memoryview | None:
        """The bytes of the next batch; None after the last complete one."""
        end = self._end()
        return None if end is None else self._data[self._at : end]

    def skip(self) -> None:
        """Skip the next batch."""
        self._at = self._end() or len(self._data)

    def clear(self) -> None:
        """Drop the remaining batches."""
        self._at = len(self._data)

    def _end(self) -> int | None:
        if len(self._data) - self._at < _PREFIX.size:
            return None
        length: int = _PREFIX.unpack_from(self._data, self._at)[1]
        end = self._at + _BEFORE_LENGTH + max(length, 0)
        return end if end <= len(self._data) and length > 0 else None
