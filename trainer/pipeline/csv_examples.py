"""Examples from a CSV file: flat columns instead of requests (`docs/tables.md` is the guide).

The path of a feature is the name of a column. Further columns are

- ``label_<task>`` per task: 1 or 0 (or true and false), empty where unknown;
- ``ts``, optional: the time of the row, whose unit is inferred from its size; without it, the rows
  are shuffled by the seed before the newest are held out;
- ``p_true_<task>``, optional, for all tasks or none: true probabilities where they are known.

Surrounding blanks of values are stripped; an empty value, or one of ``NULL_MARKERS``, is missing.
Invalid content is an error that names line and column; suspicious content is a warning. The file is
read into memory as a whole.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.data.examples import ExampleError, Examples, example_schema
from models.features import FeatureSpec
from models.suggestions import did_you_mean
from models.tasks import TaskSet
from trainer.pipeline.csv_checks import (
    FIRST_LINE,
    Warn,
    check_features,
    check_labels,
    in_milliseconds,
)

CHUNK: Final = 8192
"""Rows whose features are extracted at once."""
TRUTH: Final = {"1": 1, "0": 0, "true": 1, "false": 0, "1.0": 1, "0.0": 0}
NULL_MARKERS: Final = ("na", "n/a", "nan", "null", "none", "?")
"""Texts, in lower or upper case, that mark missing values in tables of other programs."""
SEPARATORS: Final = (",", ";", "\t")


def csv_examples(
    path: str | Path, spec: FeatureSpec, tasks: TaskSet, *, seed: int, warn: Warn
) -> Examples:
    """Read a CSV file into arrays, in order of time.

    Args:
        path: The file; its first line names the columns.
        spec: Feature spec whose paths are columns.
        tasks: The tasks; each has a column ``label_<task>``.
        seed: Seed of the order of rows without a time.
        warn: Called with a message for every suspicious finding.

    Raises:
        ExampleError: If the content is invalid; the message names file, column and line.
    """
    path = Path(path)
    frame = _read(path)
    _check_columns(path, frame.columns, spec, tasks)
    labels = [_labels(path, frame[f"label_{name}"]) for name in tasks.names]
    truths = [
        _numbers(path, frame[name], pl.Float64).to_numpy()
        for name in _truths(tasks)
        if name in frame.columns
    ]
    ts_N = np.arange(len(frame), dtype=np.int64)
    order_N = np.random.default_rng(seed).permutation(len(frame))
    if "ts" in frame.columns:
        ts_N = in_milliseconds(path, _numbers(path, frame["ts"], pl.Int64).to_numpy(), warn)
        order_N = np.argsort(ts_N, kind="stable")
    features_NC = _features(frame, spec, ts_N)
    check_features(path, frame, features_NC, spec, warn)
    examples = Examples(
        ts_N=np.sort(ts_N),
        features_NC=features_NC[order_N],
        labels_NT=np.stack(labels, axis=1)[order_N],
        propensity_N=np.ones(len(frame)),
        p_true_NT=np.stack(truths, axis=1)[order_N] if truths else None,
    )
    check_labels(path, examples, tasks, warn)
    return examples


def write_csv_examples(
    path: str | Path, out: Path, spec: FeatureSpec, tasks: TaskSet, *, seed: int, warn: Warn
) -> None:
    """Convert a CSV file to a Parquet file of examples.

    Raises:
        ExampleError: As :func:`csv_examples`.
    """
    examples = csv_examples(path, spec, tasks, seed=seed, warn=warn)
    schema = example_schema(tasks, p_true=examples.p_true_NT is not None)
    count = len(examples)
    columns: dict[str, pl.Series | Sequence[object]] = dict.fromkeys(schema, [None] * count)
    columns |= {
        "request_id": [str(number) for number in range(count)],
        "ts": pl.Series(examples.ts_N),
        "spec": [spec.hash] * count,
        "features": pl.Series(examples.features_NC).arr.to_list(),
        "model": [""] * count,
        "reason": [""] * count,
        "propensity": pl.Series(examples.propensity_N),
    }
    for column, name in enumerate(tasks.names):
        label_N = pl.Series(examples.labels_NT[:, column]).fill_nan(None)
        columns[f"label_{name}"] = label_N.cast(pl.Int8)
        if examples.p_true_NT is not None:
            columns[f"p_true_{name}"] = pl.Series(examples.p_true_NT[:, column])
    pl.DataFrame(columns, schema).write_parquet(out)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ExampleError(f"{path}: the file does not exist")
    if fault := _ragged(path):
        raise ExampleError(f"{path}{fault}")
    try:
        frame = pl.read_csv(path, infer_schema=False, separator=_separator(path))
        frame = frame.rename(str.strip)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ExampleError(f"{path}: not a readable CSV file: {error}") from error
    if not len(frame):
        raise ExampleError(f"{path}: it contains no rows")
    stripped = pl.all().str.strip_chars()
    missing = (stripped == "") | stripped.str.to_lowercase().is_in(NULL_MARKERS)
    return frame.select(pl.when(~missing).then(stripped).name.keep())


def _separator(path: Path) -> str:
    """The most frequent separator of the header; a comma if there is none."""
    with path.open("rb") as file:
        header = file.readline(65_536).decode(errors="replace")
    return max(SEPARATORS, key=header.count)


def _ragged(path: Path) -> str:
    """Line and fault of the first row with another number of fields than the header; or empty."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file, delimiter=_separator(path))
            width = len(next(rows, []))
            for row in rows:
                if row and len(row) != width:
                    return f" line {rows.line_num}: {len(row)} fields under {width} columns"
    except (OSError, UnicodeDecodeError, csv.Error):
        pass
    return ""


def _check_columns(path: Path, columns: list[str], spec: FeatureSpec, tasks: TaskSet) -> None:
    wanted = {
        str(feature.places[0].path): f"feature {feature.name!r} of {spec.source}"
        for feature in spec.features
        if feature.places and not any(str(place.path) in columns for place in feature.places)
    }
    wanted |= {f"label_{name}": f"task {name!r}" for name in tasks.names}
    truths = _truths(tasks)
    if any(name in columns for name in truths):
        wanted |= dict.fromkeys(truths, "some tasks have one, so all need one")
    for name, needed_by in wanted.items():
        if name not in columns:
            hint = did_you_mean(name, columns, f"its columns are {', '.join(columns)}")
            if needed_by.startswith("task"):
                hint += "; [[tasks]] of the settings lists the tasks (see docs/tables.md)"
            raise ExampleError(f"{path}: the column {name!r} is missing ({needed_by}); {hint}")


def _truths(tasks: TaskSet) -> list[str]:
    return [f"p_true_{name}" for name in tasks.names]


def _features(
    frame: pl.DataFrame, spec: FeatureSpec, ts_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    extractor = spec.extractor()
    return np.concatenate(
        [
            extractor.extract(frame[first : first + CHUNK].to_dicts(), ts_N[first:][:CHUNK])
            for first in range(0, len(frame), CHUNK)
        ]
    )


def _labels(path: Path, column: pl.Series) -> npt.NDArray[np.float32]:
    values = column.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Float32)
    _refuse(path, column, values, "use 1, 0, or an empty field")
    return values.fill_null(float("nan")).to_numpy().astype(np.float32)


def _numbers(path: Path, column: pl.Series, kind: type[pl.DataType]) -> pl.Series:
    values = column.cast(kind, strict=False)
    _refuse(path, column, values, "a number is required", empty=False)
    return values


def _refuse(
    path: Path, column: pl.Series, values: pl.Series, fix: str, *, empty: bool = True
) -> None:
    """Raise an error that names the first value that could not be read."""
    wrong = values.is_null() & column.is_not_null() if empty else values.is_null()
    if wrong.any():
        row = wrong.arg_max() or 0
        raise ExampleError(
            f"{path} line {row + FIRST_LINE}: {column.name} is {column[row] or ''!r}; {fix}"
        )
