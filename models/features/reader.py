"""The reference reader: all values at one path, then all at the next, in NumPy where it can be.

What :mod:`models.features.native` reads must be equal to what is read here, to the last id.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns, Steps
from models.features.feature import Feature, path_of
from models.features.path import EACH
from models.features.values import RowMemo, number_of, split_tags


class ColumnReader:
    """Reads what hangs on paths: all features but crosses, and the numbers of the time features."""

    def __init__(self, features: Sequence[Feature], times: Sequence[Steps]) -> None:
        self._columns = sum(feature.slots for feature in features)
        self._times = times
        self._numbers = _Numbers(f for f in features if f.kind in ("numeric", "count"))
        self._hashed = [
            (f, path_of(f).steps, RowMemo(f.name, f.size, f.offset))
            for f in features
            if f.kind in ("categorical", "tags")
        ]

    def read(
        self, requests: Sequence[dict[str, Any]]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """Ids of shape (C, N), those of time features and crosses not yet set; times (T, N)."""
        columns, count = Columns(requests), len(requests)
        ids_CN = np.empty((self._columns, count), np.int32)
        self._numbers.fill(ids_CN, columns)
        for feature, steps, memo in self._hashed:
            if feature.kind == "categorical":
                ids_CN[feature.column] = _rows(memo, columns.values(steps), count)
                continue
            for index, values in enumerate(_slots(feature, columns)):
                ids_CN[feature.column + index] = _rows(memo, values, count)
        times_TN = np.empty((len(self._times), count), np.float64)
        for row, steps in enumerate(self._times):
            times_TN[row] = _numbers(steps, columns, count)
        return ids_CN, times_TN


class _Numbers:
    """All numeric and count features at once, those with the same boundaries side by side.

    With -max and +inf around the boundaries, the number of edges <= value is 0 for -inf, 1 for
    the first bucket, and ``size`` for +inf and NaN: modulo ``size`` it is the row within the
    feature, 0 being missing.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        ordered = sorted(features, key=lambda f: (f.kind, f.boundaries))
        self._numeric = [path_of(f).steps for f in ordered if f.kind == "numeric"]
        self._counted = [path_of(f).steps for f in ordered if f.kind == "count"]
        low = -np.finfo(np.float64).max
        self._edges: list[tuple[slice, npt.NDArray[np.float64]]] = []
        start = 0
        for boundaries, group in groupby(ordered, key=lambda f: f.boundaries):
            stop = start + len(list(group))
            self._edges.append((slice(start, stop), np.array([low, *boundaries, np.inf])))
            start = stop
        self._columns_F = np.array([f.column for f in ordered], np.intp)
        self._sizes_F1 = np.array([[f.size] for f in ordered], np.int32).reshape(-1, 1)
        self._offsets_F1 = np.array([[f.offset] for f in ordered], np.int32).reshape(-1, 1)

    def fill(self, ids_CN: npt.NDArray[np.int32], columns: Columns) -> None:
        """Write the features' columns."""
        count = ids_CN.shape[1]
        counts = [_counts(steps, columns, count) for steps in self._counted]
        values_FN = np.concatenate([*counts, *self._numeric_values(columns, count)])
        values_FN = values_FN.reshape(len(self._columns_F), count)
        rows_FN = np.empty(values_FN.shape, np.int32)
        for rows, edges_E in self._edges:
            rows_FN[rows] = edges_E.searchsorted(values_FN[rows], "right")
        rows_FN %= self._sizes_F1
        rows_FN += self._offsets_F1
        ids_CN[self._columns_F] = rows_FN

    def _numeric_values(self, columns: Columns, count: int) -> list[npt.NDArray[np.float64]]:
        """Every numeric feature's values end to end: in one go unless some are no numbers."""
        values = chain.from_iterable(columns.values(steps, np.nan) for steps in self._numeric)
        try:
            return [np.fromiter(values, np.float64, count * len(self._numeric))]
        except (TypeError, ValueError, OverflowError):
            return [_numbers(steps, columns, count) for steps in self._numeric]


def _numbers(steps: Steps, columns: Columns, count: int) -> npt.NDArray[np.float64]:
    try:
        return np.fromiter(list(columns.values(steps, np.nan)), np.float64, count)
    except (TypeError, ValueError, OverflowError):
        return np.fromiter(map(number_of, columns.values(steps)), np.float64, count)


def _counts(steps: Steps, columns: Columns, count: int) -> npt.NDArray[np.float64]:
    lengths_N = np.fromiter(map(len, columns.elements(steps)), np.float64, count)
    lengths_N[lengths_N == 0] = np.nan
    return lengths_N


def _rows(memo: RowMemo, values: Iterable[Any], count: int) -> npt.NDArray[np.int32]:
    """Rows of N values; the memo answers for all of them unless one is unhashable."""
    values = list(values)
    try:
        return np.fromiter(map(memo.__getitem__, values), np.int32, count)
    except TypeError:
        return np.fromiter(map(memo.row_of, values), np.int32, count)


def _slots(feature: Feature, columns: Columns) -> Iterator[Iterable[Any]]:
    """The N values of each slot in turn."""
    path = path_of(feature)
    if path.stars == 1:
        star = path.steps.index(EACH)
        for index in range(feature.slots):
            yield columns.values((*path.steps[:star], index, *path.steps[star + 1 :]))
        return
    if feature.split:
        lists = [split_tags(value, feature.split) for value in columns.values(path.steps)]
    else:
        lists = columns.elements(path.steps)
    for index in range(feature.slots):
        yield [values[index] if len(values) > index else None for values in lists]
