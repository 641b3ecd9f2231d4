"""time: a part of the calendar, such as the hour of the day, in the user's time zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self, cast, get_args

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids, Place
from models.features.kinds.numeric import numbers_at
from models.features.layout import Layout
from models.features.path import Path
from models.features.plan import RECORD_TIME_SLOT, PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import FloatArray, milliseconds

CalendarPart = Literal["hour-of-day", "day-of-week", "hour-of-week"]
"""Parts of the calendar, in the order in which _plan.h numbers them."""
PART_VALUES: Final[dict[CalendarPart, int]] = {
    "hour-of-day": 24,
    "day-of-week": 7,
    "hour-of-week": 168,
}
RECORD_TIME: Final = "$timestamp"
"""``path`` of a time feature that reads the timestamp of the request's record."""
MAX_UTC_OFFSET: Final = 1440.0
"""Minutes; a larger offset is ignored. Real ones are between -720 and 840."""
_MS_PER_MINUTE: Final = 60_000.0
_MS_PER_HOUR: Final = 3_600_000.0
_MS_PER_DAY: Final = 86_400_000.0
_EPOCH_WEEKDAY: Final = 3.0  # 1970-01-01 was a Thursday; Monday is 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFeature(Feature):
    """A calendar part of the first place that is a time.

    Attributes:
        part: The calendar part.
        utc_offset: Where the minutes to add to UTC may be, in order of precedence; none for UTC.
        record_time: Whether the record's own timestamp is the last place.
    """

    kind: ClassVar[str] = "time"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "part", "utc_offset"})
    columns_per_place: ClassVar[bool] = False

    part: CalendarPart
    utc_offset: tuple[Path, ...] = ()
    record_time: bool = False

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path``, ``part`` and ``utc_offset``."""
        del before
        part = table.get("part")
        if part not in PART_VALUES:
            table.fail("part", f"{part!r} is unknown; the parts are {', '.join(PART_VALUES)}")
        part = cast("CalendarPart", part)
        given = table.listed("path")
        record_time = given[-1] == RECORD_TIME
        paths = given[:-1] if record_time else given
        if RECORD_TIME in paths:
            table.fail("path", f"{RECORD_TIME!r} is there for every record: it must be the last")
        places = tuple(Place(table.path("path", text)) for text in paths)
        offsets = table.listed("utc_offset") if table.has("utc_offset") else []
        return cls(
            size=PART_VALUES[part] + 1,
            places=places,
            part=part,
            utc_offset=tuple(table.path("utc_offset", text) for text in offsets),
            record_time=record_time,
            **position,
        )

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "TimeReader":
        """A reader of all of them."""
        del layout
        return TimeReader(features)

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """The times and offsets to read, of which the first valid one counts."""
        del layout
        times = [plan.time_slot(place.path.steps) for place in self.places]
        if self.record_time:
            times.append(RECORD_TIME_SLOT)
        offsets = [plan.time_slot(path.steps) for path in self.utc_offset]
        plan.add_time(self.column, times, offsets, get_args(CalendarPart).index(self.part))
        return True


class TimeReader:
    """Reads times.

    Args:
        features: The time features.
    """

    def __init__(self, features: Sequence[TimeFeature]) -> None:
        self._features = features

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns."""
        for feature in self._features:
            ids_EN[feature.column] = _ids(feature, columns, times_N)


def _ids(feature: TimeFeature, columns: Columns, record_times_N: npt.NDArray[np.int64]) -> Ids:
    count = len(record_times_N)
    times_N = np.full(count, np.nan)
    for place in feature.places:
        _fill(times_N, milliseconds(numbers_at(place.path.steps, columns, count)))
    if feature.record_time:
        _fill(times_N, milliseconds(record_times_N.astype(np.float64)))
    minutes_N = np.full(count, np.nan)
    for path in feature.utc_offset:
        found_N = numbers_at(path.steps, columns, count)
        _fill(minutes_N, np.where(np.abs(found_N) <= MAX_UTC_OFFSET, found_N, np.nan))
    times_N += np.nan_to_num(minutes_N) * _MS_PER_MINUTE
    known_N = ~np.isnan(times_N)
    values_N = _calendar(np.where(known_N, times_N, 0.0), feature.part)
    rows_N: Ids = np.where(known_N, values_N + 1, 0).astype(np.int32)
    return rows_N + np.int32(feature.offset)


def _fill(into_N: FloatArray, from_N: FloatArray) -> None:
    """Replace NaN by the numbers of another array."""
    np.copyto(into_N, from_N, where=np.isnan(into_N))


def _calendar(times_N: FloatArray, part: CalendarPart) -> FloatArray:
    """Hour of the day 0..23, day of the week 0..6 from Monday, or hour of the week 0..167."""
    hours_N = np.floor(times_N / _MS_PER_HOUR) % 24.0
    if part == "hour-of-day":
        return hours_N
    days_N = (np.floor(times_N / _MS_PER_DAY) + _EPOCH_WEEKDAY) % 7.0
    return days_N if part == "day-of-week" else days_N * 24.0 + hours_N
