"""What a JSON value means to a feature: its text, its number, its tags, its time, its table row.

Exchanges write ``"300"`` for 300 and ``true`` for 1, so a value is read for what it means, not by
its JSON type: values that Python considers equal get the same row. What a feature cannot read (an
object where a number is expected, an empty text) is missing, never an error. Exchanges also write
``"IAB1"`` for ``["IAB1"]``, and times in whatever unit their clock has.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from models.features.feature import Ids
from models.features.lenient_json import loads

FloatArray = npt.NDArray[np.float64]

EARLIEST_S: Final = 946_684_800.0
"""2000-01-01: a time before it is a counter, or a mistake."""
LATEST_S: Final = 4_102_444_800.0
"""2100-01-01."""
_UNITS: Final = ((1.0, 1e3, 1.0), (1e3, 1.0, 1.0), (1e6, 1.0, 1e3), (1e9, 1.0, 1e6))
"""Seconds, ms, us and ns: units per second; multiplier and divisor that give milliseconds."""
MEMO_ENTRIES: Final = 4096
MEMO_TEXT: Final = 256
"""Longest text that is cached; with :data:`MEMO_ENTRIES` it bounds the memory of a memo."""


def text_of(value: Any) -> str | None:
    """The text that a categorical value is hashed by; None if it has none.

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
    """The number that a value means; NaN if it is not a number.

    Numbers, booleans as 1 and 0, and texts that Python's ``float`` reads.
    """
    if not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def split_tags(text: Any, separator: str) -> list[str]:
    """The tags in a text, stripped, without empty ones; none in anything but a text."""
    if type(text) is not str:
        return []
    return [tag for piece in text.split(separator) if (tag := piece.strip())]


def list_of(value: Any) -> list[Any]:
    """A value as a list: itself, the tags of a text between commas, or a single value."""
    if type(value) is list:
        return value
    return tags_of(value, ",")


def tags_of(value: Any, separator: str) -> list[Any]:
    """The tags in a text, a number or boolean as it is; none in any other value."""
    if type(value) is str:
        return split_tags(value, separator)
    return [value] if isinstance(value, int | float) else []


def embedded_json(value: Any) -> Any:
    """The JSON inside a text, None if it is not JSON; an object as it is."""
    if type(value) is not str:
        return value if type(value) is dict else None
    try:
        return loads(value)
    except ValueError:
        return None


def milliseconds(times_N: FloatArray) -> FloatArray:
    """Times since the epoch in ms, from seconds, ms, us or ns; NaN for anything else.

    A number is a time in the unit in which it lies between 2000 and 2100; the ranges of the units
    do not overlap.
    """
    found_N = np.full(times_N.shape, np.nan)
    for unit, times, parts in _UNITS:
        here_N = (times_N >= EARLIEST_S * unit) & (times_N < LATEST_S * unit)
        found_N[here_N] = times_N[here_N] * times / parts
    return found_N


def millisecond(value: Any) -> int | None:
    """:func:`milliseconds` of one JSON value as a whole number; None if it is not a time."""
    time = number_of(value)
    for unit, times, parts in _UNITS:
        if EARLIEST_S * unit <= time < LATEST_S * unit:
            return int(time * times / parts)
    return None


def name_seed(name: str) -> int:
    """Seed of the hash of the feature ``name``, so that features do not share collisions."""
    return xxhash.xxh3_64_intdigest(name.encode())


class RowMemo(dict[Any, int]):
    """Rows of one feature's hashed values, cached; ``memo[value]`` computes what is not cached.

    Row ``missing`` is "missing", the ``size - 1`` rows after it are the hash buckets: xxh3_64 of
    the UTF-8 text, seeded by the feature's name. A full memo is cleared, so that neither unique ids
    nor drift make it grow or go stale.

    Args:
        name: Name of the feature.
        size: Number of its rows.
        missing: Its first row.
        zeros_missing: Whether a text of zeros and hyphens alone is missing, as phones send it for
            an id that their owner withholds.
    """

    def __init__(self, name: str, size: int, missing: int, *, zeros_missing: bool = False) -> None:
        super().__init__()
        self.missing = missing
        self._meaningless = "0-" if zeros_missing else ""
        self._seed = name_seed(name)
        self._buckets = size - 1

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
        if not text or (self._meaningless and not text.strip(self._meaningless)):
            return self.missing
        digest = xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"), self._seed)
        return self.missing + 1 + digest % self._buckets

    def rows(self, values: Iterable[Any], count: int) -> Ids:
        """Rows of N values; from the cache unless one of them is unhashable."""
        values = list(values)
        try:
            return np.fromiter(map(self.__getitem__, values), np.int32, count)
        except TypeError:
            return np.fromiter(map(self.row_of, values), np.int32, count)
