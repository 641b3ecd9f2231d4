"""What is wrong or suspicious in a table before anything is learned from it.

A table that is misread trains a model all the same: a column of decimal commas is missing
everywhere, rows sorted by their label leave a held-out slice of one class, seconds taken for
milliseconds are a day in 1970. What cannot be right is an error, what may be is a warning.

N rows, C columns of ids, T tasks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.data.examples import ExampleError, Examples
from models.features import FeatureSpec
from models.features.feature import Feature
from models.tasks import TaskSet

Warn = Callable[[str], None]
Integers = npt.NDArray[np.int64]

FIRST_LINE: Final = 2
"""The line of the first row, under the header."""
UNITS: Final = (
    (10**8, "ms", 1, 1),
    (10**11, "seconds", 1000, 1),
    (10**14, "ms", 1, 1),
    (10**17, "microseconds", 1, 1000),
    (2**63, "nanoseconds", 1, 10**6),
)
"""Up to which size a time counts as what: a number below 10^8 is a place in an order, seconds reach
to the year 5138, milliseconds from 1973 to 5138, the others alike."""
NEWEST: Final = 0.15
"""Share of the rows that training holds out, the newest."""
FEW: Final = 10
"""Expected positives (or negatives) of the newest rows from which on none of them is no accident:
the chance is below e^-10."""
DEVIATIONS: Final = 6.0
"""A label rate of the newest rows so many standard deviations off the others' is suspicious."""


def in_milliseconds(path: Path, ts_N: Integers, warn: Warn) -> Integers:
    """Times in milliseconds, from whatever unit they are in.

    Raises:
        ExampleError: If they are negative, or in several units.
    """
    if ts_N.min() < 0:
        row = int(np.argmax(ts_N < 0))
        raise ExampleError(f"{path} line {row + FIRST_LINE}: ts is {ts_N[row]}, before 1970")
    (low, high) = (_unit(int(ts_N.min())), _unit(int(ts_N.max())))
    if low != high and int(ts_N.min()) > 0:
        raise ExampleError(
            f"{path}: ts: from {ts_N.min()} to {ts_N.max()}; the smallest looks like {low[0]}, the "
            f"largest like {high[0]}: write all times in milliseconds"
        )
    unit, times, parts = high
    if unit != "ms":
        warn(f"{path}: ts: read as {unit}, because the largest is {ts_N.max()}")
    return ts_N * times // parts


def _unit(ts: int) -> tuple[str, int, int]:
    return next(found for limit, *found in UNITS if ts < limit)  # type: ignore[return-value]


def check_features(
    path: Path,
    frame: pl.DataFrame,
    features_NC: npt.NDArray[np.int32],
    spec: FeatureSpec,
    warn: Warn,
) -> None:
    """Compare what was written with what was read.

    Args:
        path: For messages.
        frame: The table; null where a value is missing.
        features_NC: Its feature ids.
        spec: What made them.
        warn: Called with each thing that is suspicious.

    Raises:
        ExampleError: If no value of a column could be read.
    """
    constant = []
    for feature in spec.features:
        columns = [str(place.path) for place in feature.places if str(place.path) in frame.columns]
        if not columns:
            continue
        ids_NS = features_NC[:, feature.column : feature.column + feature.slots]
        written = frame.select(pl.coalesce(columns)).to_series()
        written_N = written.is_not_null().to_numpy()
        unread_N = written_N & (ids_NS == feature.offset).all(axis=1)
        _check_read(path, written, feature, written_N, unread_N, warn)
        if len(frame) > 1 and (ids_NS == ids_NS[0]).all():
            constant.append(feature.name)
    if constant:
        warn(
            f"{path}: the same id in every row, so that nothing can be learned from it (one value "
            f"only, or a size so small that all values share a row): {', '.join(constant)}"
        )


def _check_read(
    path: Path,
    column: pl.Series,
    feature: Feature,
    written_N: npt.NDArray[np.bool_],
    unread_N: npt.NDArray[np.bool_],
    warn: Warn,
) -> None:
    unread, written = int(unread_N.sum()), int(written_N.sum())
    if not unread:
        return
    row = int(np.argmax(unread_N))
    what = (
        f"{path} line {row + FIRST_LINE}: {column.name} is {column[row]!r}, which the "
        f"{feature.kind} feature {feature.name!r} cannot read"
    )
    if unread == written:
        raise ExampleError(f"{what}, nor any other value of the column; {_fix(str(column[row]))}")
    warn(f"{what}; so it is with {unread} of {written} values, which count as missing")


def _fix(value: str) -> str:
    digits = value.lstrip("+-").replace(",", "").replace(".", "")
    if "," in value and digits.isdecimal():
        return "write decimal points instead of commas, and no separators of thousands"
    return "mend the column, or make the feature categorical in the spec"


def check_labels(path: Path, examples: Examples, tasks: TaskSet, warn: Warn) -> None:
    """Compare the newest rows, which training holds out, with the others.

    Args:
        path: For messages.
        examples: In order of time.
        tasks: What is learned.
        warn: Called with each thing that is suspicious.

    Raises:
        ExampleError: If the newest rows have one class only, though the others have both and there
            are enough of them.
    """
    targets_NT = examples.targets(tasks)
    cut = len(targets_NT) - round(NEWEST * len(targets_NT))
    for column, name in enumerate(tasks.names):
        older, newest = (part[~np.isnan(part)] for part in np.split(targets_NT[:, column], [cut]))
        if not len(older) or not len(newest) or not 0.0 < older.mean() < 1.0:
            continue  # what training itself refuses, or nothing to compare
        expected, found = float(older.mean()), float(newest.mean())
        rarer = min(expected, 1.0 - expected) * len(newest)
        if found in (0.0, 1.0) and rarer >= FEW:
            raise ExampleError(
                f"{path}: label_{name} is {found:.0f} in all of the newest {len(newest)} rows, "
                f"which are held out, and 1 in {expected:.1%} of the others: ts is not the rows' "
                "time; leave it out (the rows are then shuffled), or mend it"
            )
        deviation = np.sqrt(expected * (1 - expected) * (1 / len(older) + 1 / len(newest)))
        if rarer >= FEW and abs(found - expected) > DEVIATIONS * deviation:
            warn(
                f"{path}: label_{name} is 1 in {found:.1%} of the newest {len(newest)} rows, which "
                f"are held out, and in {expected:.1%} of the others; is ts the rows' time?"
            )
