"""The reference reader: all values at one place, then all at the next, in NumPy where it can be.

What :mod:`models.features.scanner` reads must be equal to what is read here, to the last id.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns, Steps
from models.features.feature import Feature, Part
from models.features.layout import Fallback, Layout, Reading
from models.features.path import EACH
from models.features.values import Floats, RowMemo, cross_rows, milliseconds, number_of, parts_of

_MS_PER_MINUTE: Final = 60_000.0
_MS_PER_HOUR: Final = 3_600_000.0
_MS_PER_DAY: Final = 86_400_000.0
MAX_UTC_OFFSET: Final = 1440.0
"""Minutes beyond which an offset is none; real ones lie between -720 and 840."""
_EPOCH_WEEKDAY: Final = 3.0  # 1970-01-01 was a Thursday; Monday is 0

Ids = npt.NDArray[np.int32]


class ColumnReader:
    """Reads the features of one spec."""

    def __init__(self, features: Sequence[Feature]) -> None:
        layout = Layout(features)
        self._seen, self._columns = layout.seen, len(layout.missing)
        self._fallbacks = layout.fallbacks
        self._numbers = _Numbers(layout.of(("numeric", "count")))
        memos = {
            f.name: RowMemo(f.name, f.size, f.offset, zeros_missing=f.zeros_missing)
            for f in features
            if f.kind in ("categorical", "tags")
        }
        self._hashed = [
            (reading, memos[reading.feature.name]) for reading in layout.of(("categorical", "tags"))
        ]
        self._times = [f for f in features if f.kind == "time"]
        by_name = {feature.name: feature for feature in features}
        self._crosses = [
            (f, [by_name[part] for part in f.parts]) for f in features if f.kind == "cross"
        ]

    def read(self, requests: Sequence[dict[str, Any]], times_N: npt.NDArray[np.int64]) -> Ids:
        """Ids of shape (N, C).

        Args:
            requests: N decoded bid requests.
            times_N: Timestamps of their records.
        """
        columns, count = Columns(requests), len(requests)
        ids_EN = np.empty((self._columns, count), np.int32)
        self._numbers.fill(ids_EN, columns)
        for reading, memo in self._hashed:
            if columns.nothing_at(reading.steps):
                stop = reading.column + reading.feature.slots
                ids_EN[reading.column : stop] = reading.feature.offset
                continue
            if reading.feature.kind == "categorical":
                ids_EN[reading.column] = _rows(memo, _texts(reading, columns, memo), count)
                continue
            for index, values in enumerate(_slots(reading, columns)):
                ids_EN[reading.column + index] = _rows(memo, values, count)
        for fallback in self._fallbacks:
            _fall_back(ids_EN, fallback)
        for feature in self._times:
            ids_EN[feature.column] = _time_rows(feature, columns, times_N)
        for feature, parts in self._crosses:
            parts_PN = np.stack([ids_EN[part.column] - part.offset for part in parts])
            ids_EN[feature.column] = cross_rows(
                parts_PN, feature.name, feature.size, feature.offset
            )
        return np.ascontiguousarray(ids_EN[: self._seen].T)


def _fall_back(ids_EN: Ids, fallback: Fallback) -> None:
    feature = fallback.feature
    into_SN = ids_EN[feature.column : feature.column + feature.slots]
    missing_N = (into_SN == feature.offset).all(axis=0)
    from_SN = ids_EN[fallback.column : fallback.column + feature.slots]
    into_SN[:, missing_N] = from_SN[:, missing_N]


class _Numbers:
    """All readings of numbers and counts at once, those with the same boundaries side by side.

    With -max and +inf around the boundaries, the number of edges <= value is 0 for -inf, 1 for
    the first bucket, and ``size`` for +inf and NaN: modulo ``size`` it is the row within the
    feature, 0 being missing.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        ordered = sorted(readings, key=lambda r: (r.feature.kind, r.boundaries))
        self._numeric = [r.steps for r in ordered if r.feature.kind == "numeric"]
        self._counted = [r.steps for r in ordered if r.feature.kind == "count"]
        low = -np.finfo(np.float64).max
        self._edges: list[tuple[slice, Floats]] = []
        start = 0
        for boundaries, group in groupby(ordered, key=lambda r: r.boundaries):
            stop = start + len(list(group))
            self._edges.append((slice(start, stop), np.array([low, *boundaries, np.inf])))
            start = stop
        self._columns_F = np.array([r.column for r in ordered], np.intp)
        self._sizes_F1 = np.array([[r.feature.size] for r in ordered], np.int32).reshape(-1, 1)
        self._offsets_F1 = np.array([[r.feature.offset] for r in ordered], np.int32).reshape(-1, 1)

    def fill(self, ids_EN: Ids, columns: Columns) -> None:
        """Write the readings' columns."""
        count = ids_EN.shape[1]
        counts = [_counts(steps, columns, count) for steps in self._counted]
        values_FN = np.concatenate([*counts, *self._numeric_values(columns, count)])
        values_FN = values_FN.reshape(len(self._columns_F), count)
        rows_FN = np.empty(values_FN.shape, np.int32)
        for rows, edges_E in self._edges:
            rows_FN[rows] = edges_E.searchsorted(values_FN[rows], "right")
        rows_FN %= self._sizes_F1
        rows_FN += self._offsets_F1
        ids_EN[self._columns_F] = rows_FN

    def _numeric_values(self, columns: Columns, count: int) -> list[Floats]:
        """Every reading's values end to end: in one go unless some are no numbers."""
        values = chain.from_iterable(
            repeat(np.nan, count)
            if columns.nothing_at(steps)
            else _values_at(steps, columns, np.nan)
            for steps in self._numeric
        )
        try:
            return [np.fromiter(values, np.float64, count * len(self._numeric))]
        except (TypeError, ValueError, OverflowError):
            return [_numbers(steps, columns, count) for steps in self._numeric]


def _values_at(steps: Steps, columns: Columns, default: Any = None) -> Iterable[Any]:
    """The N values at a path; where it reaches many, the first that is a finite number."""
    if EACH not in steps:
        return columns.values(steps, default)
    return map(_first_number, columns.elements(steps))


def _first_number(values: Iterable[Any]) -> float:
    return next(filter(math.isfinite, map(number_of, values)), math.nan)


def _numbers(steps: Steps, columns: Columns, count: int) -> Floats:
    try:
        return np.fromiter(list(_values_at(steps, columns, np.nan)), np.float64, count)
    except (TypeError, ValueError, OverflowError):
        return np.fromiter(map(number_of, _values_at(steps, columns)), np.float64, count)


def _counts(steps: Steps, columns: Columns, count: int) -> Floats:
    if columns.nothing_at(steps):
        return np.full(count, np.nan)
    lengths_N = np.fromiter(map(len, columns.elements(steps)), np.float64, count)
    lengths_N[lengths_N == 0] = np.nan
    return lengths_N


def _texts(reading: Reading, columns: Columns, memo: RowMemo) -> Iterable[Any]:
    """The N values of a categorical feature; where the path reaches many, the first that is one."""
    if EACH not in reading.steps:
        return columns.values(reading.steps)
    return [
        next((value for value in values if memo.row_of(value) != reading.feature.offset), None)
        for values in columns.elements(reading.steps)
    ]


def _rows(memo: RowMemo, values: Iterable[Any], count: int) -> Ids:
    """Rows of N values; the memo answers for all of them unless one is unhashable."""
    values = list(values)
    try:
        return np.fromiter(map(memo.__getitem__, values), np.int32, count)
    except TypeError:
        return np.fromiter(map(memo.row_of, values), np.int32, count)


def _slots(reading: Reading, columns: Columns) -> Iterator[Iterable[Any]]:
    """The N values of each slot in turn."""
    feature, steps = reading.feature, reading.steps
    if steps.count(EACH) == 1:
        star = steps.index(EACH)
        for index in range(feature.slots):
            yield columns.values((*steps[:star], index, *steps[star + 1 :]))
        return
    if feature.split:
        lists = [_tags(value, feature.split) for value in columns.values(steps)]
    else:
        lists = columns.elements(steps)
    for index in range(feature.slots):
        yield [values[index] if len(values) > index else None for values in lists]


def _tags(value: Any, separator: str) -> list[Any]:
    """The tags of a text, or of the texts in a list."""
    if type(value) is list:
        return [tag for text in value for tag in parts_of(text, separator)]
    return parts_of(value, separator)


def _time_rows(feature: Feature, columns: Columns, records_N: npt.NDArray[np.int64]) -> Ids:
    count = len(records_N)
    times_N = np.full(count, np.nan)
    for place in feature.places:
        _fill(times_N, milliseconds(_numbers(place.path.steps, columns, count)))
    if feature.record_time:
        _fill(times_N, milliseconds(records_N.astype(np.float64)))
    minutes_N = np.full(count, np.nan)
    for path in feature.utc_offset:
        found_N = _numbers(path.steps, columns, count)
        _fill(minutes_N, np.where(np.abs(found_N) <= MAX_UTC_OFFSET, found_N, np.nan))
    times_N += np.nan_to_num(minutes_N) * _MS_PER_MINUTE
    known_N = ~np.isnan(times_N)
    values_N = _calendar(np.where(known_N, times_N, 0.0), feature.part)
    rows_N: Ids = np.where(known_N, values_N + 1, 0).astype(np.int32)
    return rows_N + np.int32(feature.offset)


def _fill(into_N: Floats, from_N: Floats) -> None:
    """Put numbers where there are none yet."""
    np.copyto(into_N, from_N, where=np.isnan(into_N))


def _calendar(times_N: Floats, part: Part | None) -> Floats:
    """Hour of the day 0..23, day of the week 0..6 from Monday, or hour of the week 0..167."""
    hours_N = np.floor(times_N / _MS_PER_HOUR) % 24.0
    if part == "hour-of-day":
        return hours_N
    days_N = (np.floor(times_N / _MS_PER_DAY) + _EPOCH_WEEKDAY) % 7.0
    return days_N if part == "day-of-week" else days_N * 24.0 + hours_N
