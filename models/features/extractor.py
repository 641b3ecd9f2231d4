"""From a batch of decoded requests to the ids of the embedding table: int32 (N, C).

The one code path of trainer and worker. Ids depend on the request and the spec alone: not on the
batch around it, on what was extracted before, on the platform, on Python's hash seed, or on
whether the compiled reader is there.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.features.columns import Steps
from models.features.feature import Feature, Part, path_of
from models.features.native import NATIVE, NativeReader
from models.features.reader import ColumnReader
from models.features.values import cross_rows

__all__ = ["NATIVE", "Extractor"]

_MS_PER_MINUTE: Final = 60_000.0
_MS_PER_HOUR: Final = 3_600_000.0
_MS_PER_DAY: Final = 86_400_000.0
_MAX_MS: Final = float(1 << 53)  # beyond it floats skip milliseconds: no time
_EPOCH_WEEKDAY: Final = 3.0  # 1970-01-01 was a Thursday; Monday is 0


class Extractor:
    """Extracts the features of one spec.

    It remembers rows of values that it has seen, within bounds, so it is not shared by threads.

    Args:
        features: Those of the spec, in order.
        native: Whether the compiled reader reads the requests.

    Raises:
        ImportError: If ``native`` is asked for where it is not built.
    """

    def __init__(self, features: Sequence[Feature], *, native: bool = NATIVE) -> None:
        self._times = [
            (f, path_of(f).steps, f.utc_offset.steps if f.utc_offset else None)
            for f in features
            if f.kind == "time"
        ]
        paths = [steps for _, *both in self._times for steps in both if steps is not None]
        self._rows: dict[Steps, int] = {steps: row for row, steps in enumerate(dict.fromkeys(paths))}
        self._reader = (NativeReader if native else ColumnReader)(features, list(self._rows))
        by_name = {feature.name: feature for feature in features}
        self._crosses = [
            (f, [by_name[part] for part in f.parts]) for f in features if f.kind == "cross"
        ]

    def extract(self, requests: Sequence[dict[str, Any]]) -> npt.NDArray[np.int32]:
        """Ids of shape (N, C), each feature's within its own rows.

        Args:
            requests: N decoded bid requests.
        """
        ids_CN, times_TN = self._reader.read(requests)
        for feature, time, offset in self._times:
            minutes_N = None if offset is None else times_TN[self._rows[offset]]
            ids_CN[feature.column] = _time_rows(feature, times_TN[self._rows[time]], minutes_N)
        for feature, parts in self._crosses:
            parts_PN = np.stack([ids_CN[part.column] - part.offset for part in parts])
            ids_CN[feature.column] = cross_rows(
                parts_PN, feature.name, feature.size, feature.offset
            )
        return np.ascontiguousarray(ids_CN.T)


def _time_rows(
    feature: Feature,
    times_N: npt.NDArray[np.float64],
    minutes_N: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.int32]:
    if minutes_N is not None:
        times_N = times_N + np.where(np.isfinite(minutes_N), minutes_N, 0.0) * _MS_PER_MINUTE
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
