"""A parser of records in Python, for batches that aiokafka's decoder does not accept.

Header names should be UTF-8, but brokers do not check that; other names keep their bytes as
`HeaderName`. Only batches that need it are parsed here: those at which aiokafka's decoder fails,
and those with records so large that one of them could have a hundred thousand headers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import decode_varint

from models.bounds import MAX_HEADERS

_INT64: Final = 1 << 64


class HeaderName(str):
    """A header name that is not UTF-8: ``encode()`` returns its original bytes."""

    __slots__ = ()

    @classmethod
    def of(cls, raw: bytes) -> str:
        """The name with these bytes; a plain `str` if they are UTF-8."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return cls(raw.decode("utf-8", "surrogateescape"))

    def encode(self, _encoding: str = "utf-8", _errors: str = "strict") -> bytes:
        """The original bytes."""
        return super().encode("utf-8", "surrogateescape")


Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record as encoded in a batch, with offset and timestamp relative to the batch."""

    offset_delta: int
    timestamp_delta: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be parsed.

    Attributes:
        offset_delta: Its offset relative to the batch.
        raw: Its bytes.
        reason: Description of the fault.
        ends: Whether the records after it cannot be parsed either, because its length is unknown.
    """

    offset_delta: int
    raw: bytes
    reason: str
    ends: bool


def read_records(
    payload: bytes | memoryview, count: int, last_delta: int
) -> Iterator[WireRecord | BadRecord]:
    """Parse `count` records one by one; an error in one does not affect the others.

    Args:
        payload: The unpacked records of a batch.
        count: Number of records according to the batch's header.
        last_delta: Last relative offset of the batch.
    """
    buffer, at, delta = bytearray(payload), 0, -1
    for _ in range(count):
        try:
            start, end = _extent(buffer, at)
        except (ValueError, IndexError, CorruptRecordException) as error:
            yield BadRecord(delta + 1, bytes(buffer[at:]), f"no record starts here: {error}", True)
            return
        try:
            record: WireRecord | BadRecord = _read(
                buffer, start, end, range(delta + 1, last_delta + 1)
            )
        except (ValueError, IndexError, CorruptRecordException) as error:
            record = BadRecord(delta + 1, bytes(buffer[start:end]), str(error), ends=False)
        yield record
        delta, at = record.offset_delta, end
    if at < len(buffer):
        rest = f"{len(buffer) - at} bytes after the last of {count} records"
        yield BadRecord(delta + 1, bytes(buffer[at:]), rest, ends=True)


def _extent(buffer: bytearray, at: int) -> tuple[int, int]:
    """Start and end of the record whose length is encoded at `at`."""
    length, start = decode_varint(buffer, at)
    if not 0 < length <= len(buffer) - start:
        raise ValueError(f"a length of {length} bytes, {len(buffer) - start} are left")
    return start, start + length


def _read(buffer: bytearray, at: int, end: int, places: range) -> WireRecord:
    timestamp_delta, at = decode_varint(buffer, at + 1)  # after the attributes, which are unused
    offset_delta, at = decode_varint(buffer, at)
    if offset_delta not in places:
        raise ValueError(f"relative offset {offset_delta} is not in {places}")
    key, at = _content(buffer, at, end)
    value, at = _content(buffer, at, end)
    count, at = decode_varint(buffer, at)
    if not 0 <= count <= MAX_HEADERS:
        raise ValueError(f"{count} headers, at most {MAX_HEADERS} are allowed")
    headers = []
    for _ in range(count):
        name, at = _content(buffer, at, end)
        if name is None:
            raise ValueError("a header without a name")
        content, at = _content(buffer, at, end)
        headers.append((HeaderName.of(name), content))
    if at != end:
        raise ValueError(f"{end - at} bytes after its headers")
    return WireRecord(offset_delta, timestamp_delta, key, value, tuple(headers))


def _content(buffer: bytearray, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    if length < 0:
        return None, at
    if length > end - at:
        raise ValueError(f"a field of {length} bytes, {end - at} are left")
    return bytes(buffer[at : at + length]), at + length


def longest_record(batch: bytes | memoryview, at: int, count: int) -> int:
    """Bytes of the longest of `count` records; of the whole batch if the lengths are inconsistent.

    Args:
        batch: A batch.
        at: Index at which its records start.
        count: Number of records.
    """
    longest, end = 0, len(batch)
    for _ in range(count):
        shift = length = 0
        while True:
            if at >= end or shift > 28:
                return end
            byte = batch[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        length >>= 1  # zigzag; a negative length looks large
        longest = max(longest, length)
        at += length
    return longest if at == end else end


def wrapped(number: int) -> int:
    """`number` as a signed 64-bit integer, as timestamp deltas are added on the wire."""
    number %= _INT64
    return number - _INT64 if number >= _INT64 >> 1 else number
