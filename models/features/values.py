"""What a JSON value means to a feature: its text, its number, its row.

Real exchanges write ``"300"`` for 300 and ``true`` for 1, so a value counts for what it says, not
for its JSON type: values that Python holds equal get the same row. What a feature cannot read
(an object where a number is expected, an empty text) is missing, never an error. They also write
``"IAB1"`` for ``["IAB1"]`` and times in whatever unit their clock has.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from models.features.lenient_json import loads

Floats = npt.NDArray[np.float64]

EARLIEST_S: Final = 946_684_800.0
"""2000-01-01: a time before it is a counter, or a mistake."""
LATEST_S: Final = 4_102_444_800.0
"""2100-01-01."""
_UNITS: Final = ((1.0, 1e3, 1.0), (1e3, 1.0, 1.0), (1e6, 1.0, 1e3), (1e9, 1.0, 1e6))
"""Of seconds, ms, us and ns: how many make a second; times and parts of a millisecond."""
MEMO_ENTRIES: Final = 4096
MEMO_TEXT: Final = 256
"""Longest text that is remembered: with :data:`MEMO_ENTRIES`, the bound of a memo's memory."""


def text_of(value: Any) -> str | None:
    """The text that a categorical value is hashed by; None for what has none.

    Texts as they are, booleans as 1 and 0, whole numbers in decimal, other numbers in their
    shortest form.
    """
    match value:
        case str():
            return value or None
        case int():
            return str(int(value))
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            return None


def number_of(value: Any) -> float:
    """The number that a value says; NaN for what says none.

    Numbers, booleans as 1 and 0, and texts that Python's ``float`` reads.
    """
    if not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def split_tags(text: Any, separator: str) -> list[str]:
    """The tags in a text, stripped, without empty ones; none in what is no text."""
    if type(text) is not str:
        return []
    return [tag for part in text.split(separator) if (tag := part.strip())]


def list_of(value: Any) -> list[Any]:
    """A value as a list: itself, the parts of a text between commas, or a value alone."""
    if type(value) is list:
        return value
    return parts_of(value, ",")


def parts_of(value: Any, separator: str) -> list[Any]:
    """The tags in a text, a number or boolean as it is; nothing in any other value."""
    if type(value) is str:
        return split_tags(value, separator)
    return [value] if isinstance(value, int | float) else []


def inside(value: Any) -> Any:
    """The JSON inside of a text, None where there is none; an object as it is."""
    if type(value) is not str:
        return value if type(value) is dict else None
    try:
        return loads(value)
    except ValueError:
        return None


def milliseconds(times_N: Floats) -> Floats:
    """Times since the epoch in ms, from seconds, ms, us or ns; NaN for what lies in none of them.

    Read in its own unit, a time lies between 2000 and 2100; these ranges do not overlap.
    """
    found_N = np.full(times_N.shape, np.nan)
    for unit, times, parts in _UNITS:
        here_N = (times_N >= EARLIEST_S * unit) & (times_N < LATEST_S * unit)
        found_N[here_N] = times_N[here_N] * times / parts
    return found_N


def millisecond(value: Any) -> int | None:
    """:func:`milliseconds` of one JSON value, whole ones; None for what is no time."""
    time = number_of(value)
    for unit, times, parts in _UNITS:
        if EARLIEST_S * unit <= time < LATEST_S * unit:
            return int(time * times / parts)
    return None


def name_seed(name: str) -> int:
    """Seed of the hash of the feature ``name``, so that features do not share collisions."""
    return xxhash.xxh3_64_intdigest(name.encode())


class RowMemo(dict[Any, int]):
    """Rows of one feature's hashed values; ``memo[value]`` computes what it does not remember.

    Row ``offset`` is "missing", the ``size - 1`` rows after it are the hash buckets: xxh3_64 of
    the UTF-8 text, seeded by the feature's name. When the memo is full it forgets everything,
    so that neither unique ids nor drift make it grow or go stale. With ``zeros_missing`` a text
    of zeros and hyphens alone, as phones send for an id that their owner withholds, is missing.
    """

    def __init__(self, name: str, size: int, offset: int, *, zeros_missing: bool = False) -> None:
        super().__init__()
        self._nothing = "0-" if zeros_missing else ""
        self._seed = name_seed(name)
        self._buckets = size - 1
        self._offset = offset

    def __missing__(self, value: Any) -> int:
        row = self.row_of(value)
        if type(value) is not str or len(value) <= MEMO_TEXT:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[value] = row
        return row

    def row_of(self, value: Any) -> int:
        """The row of any JSON value, unhashable ones included."""
        text = value if type(value) is str else text_of(value)
        if not text or (self._nothing and not text.strip(self._nothing)):
            return self._offset
        digest = xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"), self._seed)
        return self._offset + 1 + digest % self._buckets


def cross_rows(
    parts_PN: npt.NDArray[np.int32], name: str, size: int, offset: int
) -> npt.NDArray[np.int32]:
    """Rows of the combinations of P features.

    The parts are folded into a 64-bit state with the finaliser of SplitMix64 (Steele, Lea and
    Flood, "Fast splittable pseudorandom number generators", 2014) after each one.

    Args:
        parts_PN: Each part's row within its own feature; 0 is missing.
        name: Name of the cross, the seed.
        size: Rows of the cross.
        offset: Its first row, given where any part is missing.
    """
    state_N = np.full(parts_PN.shape[1], name_seed(name), np.uint64)
    for part_N in parts_PN.astype(np.uint64):
        state_N += part_N + np.uint64(0x9E3779B97F4A7C15)
        state_N = (state_N ^ (state_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state_N = (state_N ^ (state_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state_N ^= state_N >> np.uint64(31)
    rows_N = (state_N % np.uint64(size - 1)).astype(np.int32) + np.int32(offset + 1)
    rows_N[(parts_PN == 0).any(axis=0)] = offset
    return rows_N
