"""Text from traffic, made harmless to read: bounded, on one line, and without hidden characters."""

import unicodedata
from typing import Final

MAX_LETTERS: Final = 80
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that have no glyph, or change the direction of what follows."""


def shown(text: object, limit: int = MAX_LETTERS) -> str:
    """A text of at most ``limit`` characters; hidden ones are shown by their number."""
    whole = str(text)
    cut = whole[:limit]
    clear = "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in _HIDDEN else letter
        for letter in cut
    )
    if len(whole) > limit or len(clear) > limit:
        return clear[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return clear


def count(number: float) -> str:
    """A number of things: 12,345."""
    return f"{number:,.0f}"


def signed(value: float, digits: int = 1) -> str:
    """A change with its sign: +1.2, \N{MINUS SIGN}0.4, 0.0."""
    rounded = f"{abs(value):,.{digits}f}"
    if not rounded.strip("0.,"):
        return rounded
    return f"{'+' if value > 0 else chr(0x2212)}{rounded}"


def share(value: float, digits: int = 1) -> str:
    """A share as percentage: 0.123 is 12.3 %."""
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
