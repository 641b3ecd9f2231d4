"""The reference reader: all values at one path, then all at the next, in NumPy where it can be.

What :mod:`models.features.native` reads must be equal to what is read here, to the last id.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns, Steps
from models.features.feature import Feature, Part, path_of
from models.features.path import EACH
from models.features.values import RowMemo, cross_rows, number_of, split_tags

_MS_PER_MINUTE: Final = 60_000.0
_MS_PER_HOUR: Final = 3_600_000.0
_MS_PER_DAY: Final = 86_400_000.0
_MAX_MS: Final = float(1 << 53)  # beyond it floats skip milliseconds: no time
_EPOCH_WEEKDAY: Final = 3.0  # 1970-01-01 was a Thursday; Monday is 0


class ColumnReader:
    """Reads the features of one spec."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._columns = sum(feature.slots for feature in features)
        self._numbers = _Numbers(f for f in features if f.kind in ("numeric", "count"))
        self._hashed = [
            (f, path_of(f).steps, RowMemo(f.name, f.size, f.offset))
            for f in features
            if f.kind in ("categorical", "tags")
        ]

        self._times = [f for f in features if f.kind == "time"]
        by_name = {feature.name: feature for feature in features}
        self._crosses = [
            (f, [by_name[part] for part in f.parts]) for f in features if f.kind == "cross"
        ]

    def read(self, requests: Sequence[dict[str, Any]]) -> npt.NDArray[np.int32]:
        """Ids of shape (N, C)."""
        columns, count = Columns(requests), len(requests)
        ids_CN = np.empty((self._columns, count), np.int32)
        self._numbers.fill(ids_CN, columns)
        for feature, steps, memo in self._hashed:
            if feature.kind == "categorical":
                ids_CN[feature.column] = _rows(memo, columns.values(steps), count)
                continue
            for index, values in enumerate(_slots(feature, columns)):
                ids_CN[feature.column + index] = _rows(memo, values, count)
        for feature in self._times:
            ids_CN[feature.column] = _time_rows(feature, columns, count)
        for feature, parts in self._crosses:
            parts_PN = np.stack([ids_CN[part.column] - part.offset for part in parts])
            ids_CN[feature.column] = cross_rows(
                parts_PN, feature.name, feature.size, feature.offset
            )
        return np.ascontiguousarray(ids_CN.T)


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


def _time_rows(feature: Feature, columns: Columns, count: int) -> npt.NDArray[np.int32]:
    times_N = _numbers(path_of(feature).steps, columns, count)
    if feature.utc_offset is not None:
        minutes_N = _numbers(feature.utc_offset.steps, columns, count)
        with np.errstate(over="ignore"):  # an absurd offset makes an absurd time: missing
            times_N += np.where(np.isfinite(minutes_N), minutes_N, 0.0) * _MS_PER_MINUTE
    known_N = np.abs(times_N) < _MAX_MS
    values_N = _calendar(np.where(known_N, times_N, 0.0), feature.part)
    rows_N: npt.NDArray[np.int32] = np.where(known_N, values_N + 1, 0).astype(np.int32)
    return rows_N + np.int32(feature.offset)


def _calendar(times_N: npt.NDArray[np.float64], part: Part | None) -> npt.NDArray[np.float64]:
    """Hour of the day 0..23, day of the week 0..6 from Monday, or hour of the week 0..167."""
    hours_N = np.floor(times_N / _MS_PER_HOUR) % 24.0
    if part == "hour-of-day":
        return hours_N
    days_N = (np.floor(times_N / _MS_PER_DAY) + _EPOCH_WEEKDAY) % 7.0
    return days_N if part == "day-of-week" else days_N * 24.0 + hours_N
