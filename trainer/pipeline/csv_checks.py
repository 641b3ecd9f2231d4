"""Checks of a table before a model is trained on it.

A misread table trains a model without an error: a column with decimal commas is missing everywhere,
rows sorted by label leave a held-out slice of one class, seconds read as milliseconds are a day in
1970. Impossible content is an error, suspicious content is a warning.

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
"""Line number of the first row, below the header."""
UNITS: Final = (
    (10**8, "ms", 1, 1),
    (10**11, "seconds", 1000, 1),
    (10**14, "ms", 1, 1),
    (10**17, "microseconds", 1, 1000),
    (2**63, "nanoseconds", 1, 10**6),
)
"""Limit below which a time has which unit, with the factor and divisor to milliseconds. A number
below 10^8 is a position in an order; seconds reach to the year 5138, milliseconds from 1973 to
5138, the others likewise."""
NEWEST: Final = 0.15
"""Share of the rows, the newest, that training holds out."""
FEW: Final = 10
"""Expected positives or negatives among the newest rows from which on having none is significant:
its probability is below e^-10."""
DEVIATIONS: Final = 6.0
"""Standard deviations between the label rates of newest and other rows that are suspicious."""


def in_milliseconds(path: Path, ts_N: Integers, warn: Warn) -> Integers:
    """Convert times of any unit to milliseconds.

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
        warn(f"{path}: ts: read as {unit}, because the largest value is {ts_N.max()}")
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
    """Check that the values of the columns became feature ids.

    Args:
        path: Path for messages.
        frame: The table; null where a value is missing.
        features_NC: Its feature ids.
        spec: Feature spec that they were extracted with.
        warn: Called with a message for every suspicious finding.

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
            f"{path}: these features have the same id in every row, so nothing is learned from "
            "them (a single value, or a size so small that all values share a row): "
            f"{', '.join(constant)}"
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
    fault = (
        f"{path} line {row + FIRST_LINE}: {column.name} is {column[row]!r}, which the "
        f"{feature.kind} feature {feature.name!r} cannot read"
    )
    if unread == written:
        raise ExampleError(f"{fault}, nor any other value of the column; {_fix(str(column[row]))}")
    warn(f"{fault}; {unread} of {written} values cannot be read and count as missing")


def _fix(value: str) -> str:
    digits = value.lstrip("+-").replace(",", "").replace(".", "")
    if "," in value and digits.isdecimal():
        return "write decimal points instead of commas, without thousands separators"
    return "correct the column, or make the feature categorical in the spec"


def check_labels(path: Path, examples: Examples, tasks: TaskSet, warn: Warn) -> None:
    """Compare the labels of the newest rows, which training holds out, with the others.

    Args:
        path: Path for messages.
        examples: The examples in order of time.
        tasks: The tasks.
        warn: Called with a message for every suspicious finding.

    Raises:
        ExampleError: If the newest rows have one class only, although the others have both and
            there are enough rows.
    """
    targets_NT = examples.targets(tasks)
    cut = len(targets_NT) - round(NEWEST * len(targets_NT))
    for column, name in enumerate(tasks.names):
        older, newest = (part[~np.isnan(part)] for part in np.split(targets_NT[:, column], [cut]))
        if not len(older) or not len(newest) or not 0.0 < older.mean() < 1.0:
            continue  # refused by training itself, or nothing to compare
        expected, found = float(older.mean()), float(newest.mean())
        rarer = min(expected, 1.0 - expected) * len(newest)
        if found in (0.0, 1.0) and rarer >= FEW:
            raise ExampleError(
                f"{path}: label_{name} is {found:.0f} in all of the newest {len(newest)} rows, "
                f"which are held out, and 1 in {expected:.1%} of the others: ts is not the rows' "
                "time; remove the column (the rows are then shuffled), or correct it"
            )
        deviation = np.sqrt(expected * (1 - expected) * (1 / len(older) + 1 / len(newest)))
        if rarer >= FEW and abs(found - expected) > DEVIATIONS * deviation:
            warn(
                f"{path}: label_{name} is 1 in {found:.1%} of the newest {len(newest)} rows, which "
                f"are held out, and in {expected:.1%} of the others; is ts the rows' time?"
            )
