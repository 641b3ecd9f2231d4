"""Lines of JSON: which are envelopes, what is in them, and how a stream of bytes is cut into them.

A line is read without building objects: only the few fields that matter are found, and the request
keeps its bytes. Lines that this reader does not understand are read leniently, or taken as they
are: the filter rejects them if they are no bid requests.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from msgspec import Raw

from models.features.lenient_json import loads
from models.features.values import millisecond

#: Bytes of a line that are kept. A longer line is cut, and is too large for the filter.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024

Headers = tuple[tuple[str, bytes | None], ...]
_NOTHING: Final = Raw()
_QUOTE: Final = b'"'


class Line(NamedTuple):
    """A request with what a record had beside it.

    Attributes:
        key: Record key, or the id of a bare request.
        value: The raw bid request; None for null.
        timestamp: ms since the epoch; the request's own ``ext.ts`` if the envelope has none;
            0 without either.
        headers: Record headers.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()


class _Fields(msgspec.Struct):
    """The fields of an envelope, and those that tell a bare request from one."""

    id: Raw = _NOTHING
    imp: Raw = _NOTHING
    ext: Raw = _NOTHING
    key: Raw = _NOTHING
    value: Raw = _NOTHING
    timestamp: Raw = _NOTHING
    headers: Raw = _NOTHING


class _Extension(msgspec.Struct):
    ts: Raw = _NOTHING


class _Request(msgspec.Struct):
    ext: Raw = _NOTHING


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_EXTENSION: Final = msgspec.json.Decoder(_Extension)
_REQUEST: Final = msgspec.json.Decoder(_Request)
_FAULTS: Final = (msgspec.DecodeError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)


def read_line(line: bytes) -> Line:
    """Read a line that is not empty; whatever it is, it is one record."""
    try:
        fields = _FIELDS.decode(line)
        bare = not len(_bytes(fields.value)) or len(_bytes(fields.imp))
        if bare:
            return Line(_text(fields.id), line, _own_time(fields.ext))
        value = _text(fields.value)
        timestamp = stamp(_loads(fields.timestamp)) or time_of(value)
        return Line(_text(fields.key), value, timestamp, read_headers(_loads(fields.headers)))
    except _FAULTS:
        return _read_leniently(line)


def _read_leniently(line: bytes) -> Line:
    try:
        doc = loads(line)
    except orjson.JSONDecodeError:
        return Line(None, line, 0)
    if not isinstance(doc, dict):
        return Line(None, line, 0)
    if "value" not in doc or "imp" in doc:
        return Line(as_bytes(doc.get("id")), line, _time_in(doc))
    value = as_bytes(doc["value"])
    timestamp = stamp(doc.get("timestamp")) or time_of(value)
    return Line(as_bytes(doc.get("key")), value, timestamp, read_headers(doc.get("headers")))


def as_bytes(value: Any) -> bytes | None:
    """A text or any other JSON value as the bytes of a record; None stays None."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    return orjson.dumps(value)


def stamp(time: Any) -> int:
    """A timestamp that fits a record; 0 for anything else."""
    fits = isinstance(time, int) and not isinstance(time, bool) and abs(time) < 2**63
    return time if fits else 0


def time_of(value: bytes | None) -> int:
    """The time that a bid request states in ``ext.ts``, in any unit, as ms; 0 without one."""
    try:
        return _own_time(_REQUEST.decode(value or b"").ext)
    except _FAULTS:
        try:
            return _time_in(loads(value or b""))
        except orjson.JSONDecodeError:
            return 0


def read_headers(headers: Any) -> Headers:
    """Headers of a record: pairs, an object, or names and values in turn; () for anything else."""
    match headers:
        case dict():
            pairs = list(headers.items())
        case [str(), *_]:
            pairs = list(zip(headers[::2], headers[1::2], strict=False))
        case list():
            pairs = [pair for pair in map(_pair, headers) if pair is not None]
        case _:
            return ()
    return tuple((name, as_bytes(value)) for name, value in pairs if isinstance(name, str))


def _pair(header: Any) -> tuple[Any, Any] | None:
    match header:
        case [name, value]:
            return name, value
        case {"key": name, "value": value} | {"name": name, "value": value}:
            return name, value
        case _:
            return None


def _own_time(extension: Raw) -> int:
    raw = _bytes(extension)
    if not raw.startswith(b"{"):
        return 0
    return millisecond(_loads(_EXTENSION.decode(raw).ts)) or 0


def _time_in(request: Any) -> int:
    extension = request.get("ext") if isinstance(request, dict) else None
    time = extension.get("ts") if isinstance(extension, dict) else None
    return millisecond(time) or 0


def _bytes(raw: Raw) -> bytes:
    return bytes(memoryview(raw)).strip()


def _loads(raw: Raw) -> Any:
    text = _bytes(raw)
    return orjson.loads(text) if text else None


def _text(raw: Raw) -> bytes | None:
    """A text without its quotes, any other JSON value as it is written, None for null."""
    text = _bytes(raw)
    if text.startswith(_QUOTE):
        return as_bytes(orjson.loads(text))
    return None if text in {b"", b"null"} else text


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join and cut blocks so that each ends where a line ends; too long lines are cut."""
    carry, cutting = b"", False
    for read in blocks:
        block = read
        if cutting:
            end = block.find(b"\n")
            if end < 0:
                continue
            block, cutting = block[end:], False
        end = block.rfind(b"\n") + 1
        if end:
            yield carry + block[:end]
            carry = block[end:]
        else:
            carry += block
        if len(carry) > MAX_LINE_BYTES:
            carry, cutting = carry[:MAX_LINE_BYTES], True
    if carry:
        yield carry
