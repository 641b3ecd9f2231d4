"""What a bid request is, and its decoder: bytes of an OpenRTB 2.x request to a dict or a reject.

Exchanges are liberal and so is the decoder: unknown fields, numbers written as texts, nulls, any
``ext``, an empty list for an absent object (as PHP writes it) and half an emoji in a text are
accepted, and what a feature cannot read is missing. Strict are only `REQUIRED_FIELDS`, without
which the filter would be wrong: every request has an id, by which outcomes are joined, and
something for sale. The decoder follows this table, and the compiled scanner's plan is made of it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from models.features.lenient_json import mend

MAX_DEPTH: Final = 1024
"""Levels of nested objects and lists that orjson reads."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NUMBER: Final = re.compile(rb"-?(?:\d[\d.eE+-]*|NaN|Infinity)")
_EXCERPT: Final = 40
_OTHER_CHARACTER: Final = rb"\ufffc"
"""Another replacement for half a surrogate pair: an id that differs with it contains one."""


class RejectCode(StrEnum):
    """Reason for which a record goes to the dead-letter topic."""

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
        code: The reason, for machines.
        message: The reason and place, for people: byte position or JSON path, and what is expected.
    """

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class RequiredField:
    """A field that every bid request has: of one JSON type and not empty.

    Attributes:
        name: Name of the field in the request object.
        kind: Its type: str or list.
        items: Type of the list's elements: dict; None for a text.
        missing: Code of a request in which it is absent, null or empty.
        why: Why it is required.
    """

    name: str
    kind: type[str] | type[list[Any]]
    items: type[dict[str, Any]] | None
    missing: RejectCode
    why: str

    def check(self, value: Any) -> None:
        """Accept a value of the field, None being an absent one.

        Raises:
            Reject: If the field is missing or of a wrong type.
        """
        if type(value) is not self.kind or not value:
            raise self._reject(value)
        if self.items is not None:
            for index, item in enumerate(value):
                if type(item) is not self.items:
                    raise _wrong_type(f"$.{self.name}[{index}]", "an object", item)

    def _reject(self, value: Any) -> Reject:
        wanted = "a text" if self.items is None else "a list of objects"
        if value is not None and type(value) is not self.kind:
            return _wrong_type(f"$.{self.name}", wanted, value)
        found = "missing" if value is None else f"an empty {'text' if value == '' else 'list'}"
        return Reject(self.missing, f"$.{self.name}: is {found}; {self.why}")


ID: Final = RequiredField("id", str, None, RejectCode.MISSING_ID, "every bid request needs one")
IMP: Final = RequiredField("imp", list, dict, RejectCode.MISSING_IMP, "nothing is for sale")
REQUIRED_FIELDS: Final = (ID, IMP)
"""What makes a JSON object a bid request, in the order in which it is checked."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded values of a chunk.

    Attributes:
        requests: The bid requests, in order.
        kept: Index in the chunk of each request's value.
        rejects: Index and reject of every other value, in order.
    """

    requests: list[dict[str, Any]]
    kept: Sequence[int]
    rejects: list[tuple[int, Reject]]


def decode_many(values: Iterable[bytes | None], max_bytes: int) -> Decoded:
    """Decode a chunk; a rejected value does not affect the others.

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
    """Decode a bid request: a JSON object with all `REQUIRED_FIELDS`.

    Args:
        value: A record's value, None being a tombstone.
        max_bytes: Longest value that is read.

    Raises:
        Reject: With code and place of the first fault.
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
    for field in REQUIRED_FIELDS:
        field.check(request.get(field.name))
    return request


def _mended(value: bytes, error: orjson.JSONDecodeError) -> Any:
    """Decode with U+FFFD in place of halves of surrogate pairs, which no id may contain."""
    mended = mend(value)
    if mended is None:
        raise _not_json(value, error) from None
    try:
        request = orjson.loads(mended)
    except orjson.JSONDecodeError as other:
        raise _not_json(mended, other) from None
    identity = request.get(ID.name) if type(request) is dict else None
    if type(identity) is str and "\ufffd" in identity:
        changed = orjson.loads(mend(value, _OTHER_CHARACTER) or b"")
        if changed.get(ID.name) != identity:
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
    """The reject of what orjson refused: its message, a byte position, a code from the bytes."""
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
    """Whether the characters of a number denote a finite one; malformed ones count as such."""
    try:
        return abs(float(number)) < float("inf")
    except ValueError:
        return True


def _depth(head: bytes) -> int:
    """The deepest level that opens in ``head``, without brackets inside texts."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", head).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
