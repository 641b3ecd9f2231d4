"""Buckets between boundaries: what numeric and count features have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np

from models.features.feature import Feature, Ids
from models.features.spec_reader import TableReader, is_number
from models.features.values import FloatArray

_MAX_BUCKETS: Final = 10_000


@dataclass(frozen=True, slots=True)
class BucketColumn:
    """A column of buckets.

    Attributes:
        feature: Feature that the rows belong to.
        boundaries: Bucket k has the values with k boundaries <= value.
        column: The column.
    """

    feature: Feature
    boundaries: tuple[float, ...]
    column: int


class Buckets:
    """Rows of the values of F columns, those with equal boundaries at once.

    With -max and +inf around the boundaries, the number of edges <= value is 0 for -inf, 1 for
    the first bucket, and ``size`` for +inf and NaN: modulo ``size`` it is the row within the
    feature, 0 being missing.

    Args:
        columns: The columns, those with equal boundaries next to each other.
    """

    def __init__(self, columns: Sequence[BucketColumn]) -> None:
        low = -np.finfo(np.float64).max
        self._edges: list[tuple[slice, FloatArray]] = []
        start = 0
        for boundaries, group in groupby(columns, key=lambda column: column.boundaries):
            stop = start + len(list(group))
            self._edges.append((slice(start, stop), np.array([low, *boundaries, np.inf])))
            start = stop
        self._columns_F = np.array([c.column for c in columns], np.intp)
        self._sizes_F1 = np.array([[c.feature.size] for c in columns], np.int32)
        self._offsets_F1 = np.array([[c.feature.offset] for c in columns], np.int32)

    def fill(self, ids_EN: Ids, values_FN: FloatArray) -> None:
        """Write the columns' ids.

        Args:
            ids_EN: Ids; written in place.
            values_FN: Values of the columns; what is not finite is missing.
        """
        rows_FN = np.empty(values_FN.shape, np.int32)
        for rows, edges_B in self._edges:
            rows_FN[rows] = edges_B.searchsorted(values_FN[rows], "right")
        rows_FN %= self._sizes_F1
        rows_FN += self._offsets_F1
        ids_EN[self._columns_F] = rows_FN


def parse_boundaries(table: TableReader) -> tuple[float, ...]:
    """The boundaries that ``boundaries``, ``linear`` or ``log`` give.

    Raises:
        SpecError: Naming the key that is wrong.
    """
    given = [key for key in ("boundaries", "linear", "log") if table.has(key)]
    if len(given) != 1:
        table.fail("boundaries", "give exactly one of 'boundaries', 'linear' and 'log'")
    key = given[0]
    edges = _listed(table) if key == "boundaries" else _spaced(table, key)
    if not all(low < high for low, high in pairwise(edges)) or not all(map(is_number, edges)):
        table.fail(key, f"must increase from one to the next: {list(edges)}")
    return edges


def _listed(table: TableReader) -> tuple[float, ...]:
    values = table.get("boundaries")
    if not isinstance(values, list) or not values or not all(map(is_number, values)):
        table.fail("boundaries", "must be a list of one or more finite numbers")
    return tuple(map(float, values))


def _spaced(table: TableReader, key: str) -> tuple[float, ...]:
    """Ends and inner boundaries of equal steps, to 6 digits: the same on every platform."""
    scale = table.get(key)
    if not isinstance(scale, dict) or scale.keys() != {"low", "high", "buckets"}:
        table.fail(key, "must be { low = ..., high = ..., buckets = ... }")
    low, high, buckets = scale["low"], scale["high"], scale["buckets"]
    if not (is_number(low) and is_number(high) and low < high):
        table.fail(key, f"'low' must be a number below 'high', not {low!r} and {high!r}")
    if type(buckets) is not int or not 1 <= buckets <= _MAX_BUCKETS:
        table.fail(key, f"'buckets' must be an integer from 1 to {_MAX_BUCKETS}")
    shares = [step / buckets for step in range(buckets + 1)]
    if key == "linear":
        return tuple(float(f"{low + (high - low) * share:.6g}") for share in shares)
    if low <= 0:
        table.fail(key, f"'low' must be above 0 on a log scale, not {low!r}")
    return tuple(float(f"{low * (high / low) ** share:.6g}") for share in shares)
