"""Protobuf's wire format, decoded strictly and encoded again: only fields of a schema exist.

A reader that skips unknown fields leaves a gap, because another reader may interpret them. This one
skips nothing: unknown fields, groups, wire types other than the schema's, repeated occurrences of a
field and numbers in more bytes than needed are errors, and :func:`encode` writes what
:func:`decode` read and nothing else.
Format: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

Message = dict[str, Any]
_VARINT, _BYTES = 0, 2
_MAX_NUMBER: Final = (1 << 63) - 1
_MAX_VARINT: Final = 9  # bytes of the largest number that is allowed


class WireError(ValueError):
    """Bytes that are not a message of the schema; the message names the field and the fault."""


class Kind(Enum):
    """How a field's value is encoded."""

    NUMBER = auto()  # a varint from 0 to 2^63 - 1
    TEXT = auto()  # UTF-8
    BYTES = auto()
    MESSAGE = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: Key of its value in the message.
        kind: Kind of its encoding.
        most: Maximum number of occurrences; None for a field that is not a list.
        schema: Schema of its message, for a field of that kind.
        bytes: Maximum size of a text or byte string.
    """

    name: str
    kind: Kind
    most: int | None = None
    schema: Mapping[int, "Field"] | None = None
    bytes: int = 64


Schema = Mapping[int, Field]


def decode(data: memoryview, schema: Schema, where: str) -> Message:
    """Decode a message; lists of absent fields are empty, other absent fields are missing keys.

    Args:
        data: The whole message.
        schema: Its fields by number.
        where: Name of the message in errors.

    Returns:
        Values by name: int, str, memoryview (a view into ``data``), a message, or a list of these.

    Raises:
        WireError: If it is not a message of these fields only, in the shortest encoding.
    """
    message: Message = {f.name: [] for f in schema.values() if f.most is not None}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at, where)
        field = schema.get(tag >> 3)
        if field is None:
            raise WireError(f"{where}: field number {tag >> 3} is not allowed")
        name = f"{where}.{field.name}"
        if tag & 7 != (_VARINT if field.kind is Kind.NUMBER else _BYTES):
            raise WireError(f"{name}: wire type {tag & 7} is not that of the field")
        value, at = _varint(data, at, name)
        if field.kind is not Kind.NUMBER:
            end = at + value
            if end > len(data):
                raise WireError(f"{name}: the file ends in the middle of it")
            value, at = _content(data[at:end], field, name), end
        if field.most is None:
            if field.name in message:
                raise WireError(f"{name}: given twice")
            message[field.name] = value
        else:
            if len(message[field.name]) == field.most:
                raise WireError(f"{name}: more than {field.most}")
            message[field.name].append(value)
    return message


def encode(message: Mapping[str, Any], schema: Schema) -> bytes:
    """The bytes of a message, in the order of the field numbers, without the missing fields."""
    parts: list[bytes | memoryview] = []
    _encode(message, schema, parts.append)
    return b"".join(parts)


def _encode(message: Mapping[str, Any], schema: Schema, put: Callable[[Any], None]) -> None:
    for number, field in sorted(schema.items()):
        for value in _values(message, field):
            if field.kind is Kind.NUMBER:
                put(_number(number << 3 | _VARINT))
                put(_number(value))
                continue
            content: bytes | memoryview
            if field.kind is Kind.MESSAGE:
                content = encode(value, field.schema or {})
            else:
                content = value.encode() if field.kind is Kind.TEXT else value
            put(_number(number << 3 | _BYTES))
            put(_number(len(content)))
            put(content)


def _values(message: Mapping[str, Any], field: Field) -> Iterable[Any]:
    if field.most is not None:
        return message[field.name]  # type: ignore[no-any-return]
    return (message[field.name],) if field.name in message else ()


def _content(data: memoryview, field: Field, name: str) -> Any:
    if field.kind is Kind.MESSAGE:
        return decode(data, field.schema or {}, name)
    if len(data) > field.bytes:
        raise WireError(f"{name}: {len(data)} bytes, more than {field.bytes}")
    if field.kind is Kind.BYTES:
        return data
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"{name}: not UTF-8") from error


def _varint(data: memoryview, at: int, where: str) -> tuple[int, int]:
    value = 0
    for place in range(_MAX_VARINT):
        if at == len(data):
            raise WireError(f"{where}: the file ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if place and not byte:
                raise WireError(f"{where}: a number is written longer than it is")
            return value, at
    raise WireError(f"{where}: a number is negative or above {_MAX_NUMBER}")


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
