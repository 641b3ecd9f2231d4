r"""JSON as exchanges write it: strict, but for halves of surrogate pairs.

Whoever cuts a text to a length may cut an emoji in two, and writes ``"\ud83d"``: an escape of
no character. orjson refuses it wherever it stands; here it counts as U+FFFD, the character
that stands for what cannot be read. All else is as strict as orjson.
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
    """The value of a text.

    Raises:
        orjson.JSONDecodeError: If it is no JSON; its position is that in ``text``.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        mended = mend(text.encode() if isinstance(text, str) else text)
        if mended is None:
            raise
        return orjson.loads(mended)


def mend(value: bytes, replacement: bytes = REPLACEMENT) -> bytes | None:
    """``value`` with another escape in place of each half of a pair; None if there is none.

    Args:
        value: JSON, or what should be.
        replacement: An escape of six bytes, so that positions stay what they are.
    """
    mended = _ESCAPES.sub(lambda escape: replacement if escape[1] else escape[0], value)
    return mended if mended != value else None
