"""Bid request decoder: raw bytes of an OpenRTB 2.x request to a dict, or a typed reject.

Exchanges are liberal and so is the decoder: unknown fields, numbers written as texts, nulls, any
``ext``, an empty list for an absent object (as PHP writes it) and half an emoji in a text are
fine, and what a feature cannot read is missing. It is strict only where the filter would be wrong:
every request has an id (outcomes are joined by it) and something for sale.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from models.features.lenient_json import mend

MAX_DEPTH: Final = 1024
"""Nested objects and lists that orjson reads."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NUMBER: Final = re.compile(rb"-?(?:\d[\d.eE+-]*|NaN|Infinity)")
_EXCERPT: Final = 40
_OTHER_CHARACTER: Final = rb"\ufffc"
"""In place of half a surrogate pair: an id that changes with it has one."""


class RejectCode(StrEnum):
    """Why a record went to the dead-letter topic."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    TOO_LARGE = "too-large"
    INVALID_UTF8 = "invalid-utf8"
    INVALID_JSON = "invalid-json"
    TOO_DEEP = "too-deep"
    NOT_AN_OBJECT = "not-an-object"
    MISSING_ID = "missing-id"
    MISSING_IMP = "missing-imp"
    WRONG_TYPE = "wrong-type"
    NUMBER_OUT_OF_RANGE = "number-out-of-range"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class Reject(ValueError):  # noqa: N818 - a verdict on a record, by the name of its topic
    """A record that is no bid request.

    Attributes:
        code: Why, for machines.
        message: Why and where, for people: byte position or JSON path, and what was expected.
    """

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a chunk's values.

    Attributes:
        requests: The bid requests, in order.
        kept: For each request, the index of its value in the chunk.
        rejects: Index and reject of every other value, in order.
    """

    requests: list[dict[str, Any]]
    kept: Sequence[int]
    rejects: list[tuple[int, Reject]]


def decode_many(values: Iterable[bytes | None], max_bytes: int) -> Decoded:
    """Decode a chunk; a bad value never hides a good one.

    Args:
        values: Record values, None being a tombstone.
        max_bytes: Longest value that is read.
    """
    requests: list[dict[str, Any]] = []
    rejects: list[tuple[int, Reject]] = []
    index = -1
    for index, value in enumerate(values):
        try:
            requests.append(decode(value, max_bytes))
        except Reject as reject:
            rejects.append((index, reject))
    kept: Sequence[int] = range(index + 1)
    if rejects:
        rejected = {index for index, _ in rejects}
        kept = [index for index in kept if index not in rejected]
    return Decoded(requests, kept, rejects)


def decode(value: bytes | None, max_bytes: int) -> dict[str, Any]:
    """The bid request that ``value`` holds: ``id`` a non-empty text, ``imp`` a non-empty list.

    Args:
        value: A record's value, None being a tombstone.
        max_bytes: Longest value that is read.

    Raises:
        Reject: With the code and the place of the first fault.
    """
    if not value or len(value) > max_bytes:
        raise _unreadable(value, max_bytes)
    try:
        request = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        request = _mended(value, error)
    if type(request) is not dict:
        raise Reject(
            RejectCode.NOT_AN_OBJECT, f"$: a bid request object is expected, not {_kind(request)}"
        )
    identity = request.get("id")
    if type(identity) is not str or not identity:
        raise _bad_id(identity)
    imps = request.get("imp")
    if type(imps) is not list or not imps:
        raise _bad_imp(imps)
    for imp in imps:
        if type(imp) is not dict:
            raise _wrong_type(f"$.imp[{_first_not_object(imps)}]", "an object", imp)
    return request


def _mended(value: bytes, error: orjson.JSONDecodeError) -> Any:
    """``value`` with U+FFFD for halves of surrogate pairs, which no id may have."""
    mended = mend(value)
    if mended is None:
        raise _not_json(value, error) from None
    try:
        request = orjson.loads(mended)
    except orjson.JSONDecodeError as other:
        raise _not_json(mended, other) from None
    identity = request.get("id") if type(request) is dict else None
    if type(identity) is str and "\ufffd" in identity:
        changed = orjson.loads(mend(value, _OTHER_CHARACTER) or b"")
        if changed.get("id") != identity:
            raise _not_json(value, error) from None
    return request


def _unreadable(value: bytes | None, max_bytes: int) -> Reject:
    if value is None:
        return Reject(RejectCode.TOMBSTONE, "the record has no value (a tombstone)")
    if not value:
        return Reject(RejectCode.EMPTY, "the value is empty: 0 bytes")
    return Reject(
        RejectCode.TOO_LARGE,
        f"the value has {len(value)} bytes, more than worker.max_value_bytes = {max_bytes}",
    )


def _bad_id(identity: Any) -> Reject:
    if identity is None:
        return Reject(RejectCode.MISSING_ID, "$.id: is missing; every bid request needs one")
    if identity == "":
        return Reject(RejectCode.MISSING_ID, "$.id: is an empty text")
    return _wrong_type("$.id", "a text", identity)


def _bad_imp(imps: Any) -> Reject:
    if imps is None:
        return Reject(RejectCode.MISSING_IMP, "$.imp: is missing; nothing is for sale")
    if imps == []:
        return Reject(RejectCode.MISSING_IMP, "$.imp: is an empty list; nothing is for sale")
    return _wrong_type("$.imp", "a list of objects", imps)


def _first_not_object(imps: list[Any]) -> int:
    return next(index for index, imp in enumerate(imps) if type(imp) is not dict)


def _wrong_type(path: str, wanted: str, found: Any) -> Reject:
    return Reject(RejectCode.WRONG_TYPE, f"{path}: {wanted} is expected, not {_kind(found)}")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def _not_json(value: bytes, error: orjson.JSONDecodeError) -> Reject:
    """Why orjson refused: its own words, placed by byte, under a code found from the bytes."""
    try:
        text = value.decode()
    except UnicodeDecodeError as fault:
        byte = value[fault.start]
        return Reject(
            RejectCode.INVALID_UTF8, f"byte {fault.start}: 0x{byte:02x} is not UTF-8 here"
        )
    position = len(text[: error.pos].encode())
    excerpt = value[position : position + _EXCERPT].decode(errors="replace")
    number = _NUMBER.match(value, position)
    if number is not None and not _is_finite_json(number[0]):
        return Reject(
            RejectCode.NUMBER_OUT_OF_RANGE,
            f"byte {position}: {excerpt!r} is no finite 64-bit floating point number",
        )
    if _depth(value[: position + 1]) > MAX_DEPTH:
        return Reject(
            RejectCode.TOO_DEEP, f"byte {position}: more than {MAX_DEPTH} nested levels begin here"
        )
    where = f"byte {position}, before {excerpt!r}" if excerpt else f"byte {position}, at the end"
    return Reject(RejectCode.INVALID_JSON, f"{where}: {error.msg}")


def _is_finite_json(number: bytes) -> bool:
    """Whether the characters of a number say a finite one; malformed ones are not judged here."""
    try:
        return abs(float(number)) < float("inf")
    except ValueError:
        return True


def _depth(head: bytes) -> int:
    """The deepest level that opens in ``head``, brackets inside texts left out."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", head).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
