r"""JSON as exchanges write it: strict, except that half a surrogate pair is accepted.

A text that is truncated to a length may end in the middle of an emoji: ``"\ud83d"``, an escape that
is not a character. orjson rejects it anywhere in a document; here it is read as U+FFFD, the
replacement character. Everything else is as strict as orjson.
"""

import re
from typing import Any, Final

import orjson

_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
REPLACEMENT: Final = rb"\ufffd"


def loads(text: str | bytes) -> Any:
    """The value that a JSON text contains.

    Raises:
        orjson.JSONDecodeError: If it is not JSON; the error's position is that in ``text``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        mended = mend(text.encode() if isinstance(text, str) else text)
        if mended is None:
            raise
        return orjson.loads(mended)


def mend(value: bytes, replacement: bytes = REPLACEMENT) -> bytes | None:
    """``value`` with a replacement for each half of a surrogate pair; None if there is none.

    Args:
        value: JSON, possibly malformed.
        replacement: An escape of six bytes, so that positions do not change.
    """
    mended = _ESCAPES.sub(lambda escape: replacement if escape[1] else escape[0], value)
    return mended if mended != value else None
