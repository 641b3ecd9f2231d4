"""Decoding of JSON messages: typed, bounded, and refused with a reason.

msgspec decodes and validates against the type of the message, whose fields have the bounds of
`models/bounds.py`. Any fault of the bytes raises a `RecordError` that names the
field.
"""

from typing import TypeVar

import msgspec

T = TypeVar("T")


class RecordError(ValueError):
    """A record that cannot be read; the message names the field and what was expected."""


def decode(raw: bytes | None, decoder: msgspec.json.Decoder[T], what: str, max_bytes: int) -> T:
    """Decode the JSON value of one message.

    Args:
        raw: The value.
        decoder: Decoder of the expected type.
        what: Kind of message, for the error.
        max_bytes: Longer values are refused without decoding.

    Raises:
        RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
    """
    if not raw:
        raise RecordError(f"{what}: the value is empty; a JSON object is expected")
    if len(raw) > max_bytes:
        raise RecordError(f"{what}: {len(raw)} bytes; at most {max_bytes} are read")
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise RecordError(_explain(what, str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{what}: not JSON: {error}") from error
    except RecursionError as error:
        raise RecordError(f"{what}: nested too deeply") from error


def _explain(what: str, message: str) -> str:
    """Put the path of the field first: ``outcome.ts: Expected `int`, got `str```."""
    fault, _, path = message.partition(" - at `$")
    return f"{what}{path.rstrip('`')}: {fault}"
