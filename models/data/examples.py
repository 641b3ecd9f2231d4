"""The Parquet example store: its schema, and how it is read into arrays.

It has one row per request, see "models/data" in ARCHITECTURE.md. Writers build frames with
:func:`example_schema`; readers get :class:`Examples`, in which a masked label is NaN.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.errors import UserError
from models.features import FeatureSpec
from models.tasks import ALL_REQUESTS, TaskSet

DEFAULT_STREAM_ROWS: Final = 65_536
#: Optional column: number of requests that a row represents, if only a sample is kept.
WEIGHT: Final = "weight"
#: Optional column: ms from the request to the moment as of which its labels are known.
ELAPSED: Final = "elapsed"
#: Elapsed time of a row in a file without the column: every label is final.
FINAL_MS: Final = int(np.iinfo(np.int64).max)
#: Seed of the hash of ids.
_ID_SEED: Final = 0x6F72646572
Paths = str | Path | Sequence[str | Path]


class ExampleError(UserError, ValueError):
    """An example store that cannot be read; the message names file, column and fix."""


def example_schema(
    tasks: TaskSet, p_true: bool = False, delays: bool = False
) -> dict[str, pl.DataType]:
    """Columns of the store and their types.

    Args:
        tasks: Tasks of the columns ``label_<task>``.
        p_true: Whether there are true probabilities, ``p_true_<task>``.
        delays: Whether some labels may be open: ``elapsed`` and ``delay_<task>``, in ms.
    """
    columns: dict[str, pl.DataType] = {
        "request_id": pl.String(),
        "ts": pl.Int64(),
        "spec": pl.String(),
        "features": pl.List(pl.Int32()),
        **{f"label_{name}": pl.Int8() for name in tasks.names},
        "model": pl.String(),
        "reason": pl.String(),
        "e": pl.Float64(),
        "threshold": pl.Float64(),
        "propensity": pl.Float64(),
    }
    if p_true:
        columns |= {f"p_true_{name}": pl.Float64() for name in tasks.names}
    if delays:
        columns |= {ELAPSED: pl.Int64(), **{f"delay_{name}": pl.Int64() for name in tasks.names}}
    return columns


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of the store as arrays.

    Attributes:
        ts_N: Time of the request, int64 milliseconds since the epoch.
        features_NC: Feature ids, int32.
        labels_NT: 1 (the event happened), 0 (it did not), NaN (masked), float32; regardless of the
            task's population, see :meth:`targets`.
        propensity_N: Probability of the decision by which the row was observed; NaN if unknown.
        p_true_NT: True probabilities on each task's own population, None if not stored.
        weight_N: Number of requests that each row represents, 1 or more; None if not stored.
        elapsed_N: Time from the request to the moment as of which the labels are known, int64 ms;
            a masked label of a young row is open. None if not stored: every label is final.
        delay_NT: Time from the request to the event, float64 ms, NaN without an event; None if not
            stored.
        id_N: Hash of the request's id, uint64, which orders rows of the same time; None if there is
            no elapsed time: then rows are in the order of their files.
    """

    ts_N: npt.NDArray[np.int64]
    features_NC: npt.NDArray[np.int32]
    labels_NT: npt.NDArray[np.float32]
    propensity_N: npt.NDArray[np.float64]
    p_true_NT: npt.NDArray[np.float64] | None = None
    weight_N: npt.NDArray[np.float32] | None = None
    elapsed_N: npt.NDArray[np.int64] | None = None
    delay_NT: npt.NDArray[np.float64] | None = None
    id_N: npt.NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.ts_N)

    def take(self, rows_K: npt.NDArray[np.int64]) -> "Examples":
        """The rows with these indices, in this order."""
        return replace(
            self,
            ts_N=self.ts_N[rows_K],
            features_NC=self.features_NC[rows_K],
            labels_NT=self.labels_NT[rows_K],
            propensity_N=self.propensity_N[rows_K],
            p_true_NT=None if self.p_true_NT is None else self.p_true_NT[rows_K],
            weight_N=None if self.weight_N is None else self.weight_N[rows_K],
            elapsed_N=None if self.elapsed_N is None else self.elapsed_N[rows_K],
            delay_NT=None if self.delay_NT is None else self.delay_NT[rows_K],
            id_N=None if self.id_N is None else self.id_N[rows_K],
        )

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """Number of requests that each row represents; 1 if not stored."""
        return np.ones(len(self), np.float32) if self.weight_N is None else self.weight_N

    @property
    def elapsed(self) -> npt.NDArray[np.int64]:
        """Elapsed times; :data:`FINAL_MS` if not stored."""
        return np.full(len(self), FINAL_MS) if self.elapsed_N is None else self.elapsed_N

    @property
    def delays(self) -> npt.NDArray[np.float64]:
        """Delays of the events, shape (N, T); NaN if not stored."""
        if self.delay_NT is None:
            return np.full(self.labels_NT.shape, np.nan)
        return self.delay_NT

    @property
    def ids(self) -> npt.NDArray[np.uint64]:
        """Hashes of the ids; 0 if not stored."""
        return np.zeros(len(self), np.uint64) if self.id_N is None else self.id_N

    def targets(self, tasks: TaskSet) -> npt.NDArray[np.float32]:
        """Labels with every row outside a task's population masked as well, shape (N, T)."""
        return population_targets(self.labels_NT, tasks)


def population_targets(
    labels_NT: npt.NDArray[np.float32], tasks: TaskSet
) -> npt.NDArray[np.float32]:
    """Labels with every row outside a task's population masked as well, shape (N, T)."""
    targets_NT = labels_NT.copy()
    for column, task in enumerate(tasks):
        if task.population != ALL_REQUESTS:
            inside_N = labels_NT[:, tasks.index(task.population)] == 1
            targets_NT[~inside_N, column] = np.nan
    return targets_NT


def read_examples(paths: Paths, spec: FeatureSpec, tasks: TaskSet) -> Examples:
    """Read whole files into memory.

    Args:
        paths: Parquet files, or folders of them (read in name order).
        spec: Feature spec whose hash every row must have.
        tasks: Tasks of the label columns, in order.

    Raises:
        ExampleError: Naming the file, the column, what was found and what is needed.
    """
    batches = list(stream_examples(paths, spec, tasks))
    if not batches:
        raise ExampleError(f"{_names(paths)}: there are no examples in it")
    if len({batch.p_true_NT is None for batch in batches}) > 1:
        raise ExampleError(f"{_names(paths)}: only some files have the columns p_true_<task>")
    truths = [batch.p_true_NT for batch in batches if batch.p_true_NT is not None]
    weighted = any(batch.weight_N is not None for batch in batches)
    delayed = any(batch.elapsed_N is not None for batch in batches)
    return Examples(
        ts_N=np.concatenate([batch.ts_N for batch in batches]),
        features_NC=np.concatenate([batch.features_NC for batch in batches]),
        labels_NT=np.concatenate([batch.labels_NT for batch in batches]),
        propensity_N=np.concatenate([batch.propensity_N for batch in batches]),
        p_true_NT=np.concatenate(truths) if truths else None,
        weight_N=np.concatenate([batch.weights for batch in batches]) if weighted else None,
        elapsed_N=np.concatenate([batch.elapsed for batch in batches]) if delayed else None,
        delay_NT=np.concatenate([batch.delays for batch in batches]) if delayed else None,
        id_N=np.concatenate([batch.ids for batch in batches]) if delayed else None,
    )


def stream_examples(
    paths: Paths,
    spec: FeatureSpec,
    tasks: TaskSet,
    rows: int = DEFAULT_STREAM_ROWS,
) -> Iterator[Examples]:
    """Read files in batches of at most ``rows`` rows, so that memory is bounded.

    Raises:
        ExampleError: As :func:`read_examples`.
    """
    for path in example_files(paths):
        try:
            lazy = pl.scan_parquet(path)
            schema = lazy.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ExampleError(f"{path}: not a readable Parquet file: {error}") from error
        columns = _check_schema(path, dict(schema), tasks)
        count = lazy.select(pl.len()).collect().item()
        for start in range(0, count, rows):
            frame = lazy.select(columns).slice(start, rows).collect()
            yield _arrays(path, frame, spec, tasks)


def example_files(paths: Paths) -> list[Path]:
    """The Parquet files that paths denote: files in the given order, those of a folder by name.

    Raises:
        ExampleError: If there is none.
    """
    files: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        if Path(path).is_dir():
            files += sorted(Path(path).glob("*.parquet"))
        elif Path(path).is_file():
            files.append(Path(path))
        else:
            raise ExampleError(f"{path}: there is no such file or folder")
    if not files:
        raise ExampleError(f"{_names(paths)}: there are no *.parquet files in it")
    return files


def _check_schema(path: Path, schema: dict[str, pl.DataType], tasks: TaskSet) -> list[str]:
    """Names of the columns to read."""
    needed = ["ts", "spec", "features", *(f"label_{name}" for name in tasks.names), "propensity"]
    wanted = example_schema(tasks, p_true=True, delays=True)
    truths = [f"p_true_{name}" for name in tasks.names]
    if any(name in schema for name in truths):
        needed += truths
    if WEIGHT in schema:
        needed.append(WEIGHT)
        wanted[WEIGHT] = pl.Float64()
    if ELAPSED in schema:
        needed += [ELAPSED, *(f"delay_{name}" for name in tasks.names), "request_id"]
    for name in needed:
        if name not in schema:
            raise ExampleError(f"{path}: the column {name} is missing; {wanted[name]} is needed")
        # A column of nothing but nulls has no type of its own.
        if schema[name] != wanted[name] and schema[name] != pl.Null():
            raise ExampleError(f"{path}: {name} is {schema[name]}; {wanted[name]} is needed")
    return needed


def _arrays(path: Path, frame: pl.DataFrame, spec: FeatureSpec, tasks: TaskSet) -> Examples:
    for name in ("ts", "spec", "features"):
        if frame[name].null_count():
            raise ExampleError(f"{path}: {name} is null in {frame[name].null_count()} rows")
    others = frame.filter(pl.col("spec") != spec.hash)["spec"]
    if len(others):
        raise ExampleError(
            f"{path}: spec is {others[0]!r} in {len(others)} rows, but the feature spec's "
            f"hash is {spec.hash!r}; extract these requests again"
        )
    labels = [_labels(path, frame[f"label_{name}"]) for name in tasks.names]
    truth_names = [f"p_true_{name}" for name in tasks.names if f"p_true_{name}" in frame.columns]
    return Examples(
        ts_N=frame["ts"].to_numpy().astype(np.int64),
        features_NC=_features(path, frame["features"], spec),
        labels_NT=np.stack(labels, axis=1),
        propensity_N=_floats(frame["propensity"]),
        p_true_NT=np.stack([_floats(frame[name]) for name in truth_names], axis=1)
        if truth_names
        else None,
        weight_N=_weights(path, frame[WEIGHT]) if WEIGHT in frame.columns else None,
        elapsed_N=frame[ELAPSED].cast(pl.Int64).fill_null(FINAL_MS).to_numpy().astype(np.int64)
        if ELAPSED in frame.columns
        else None,
        delay_NT=_delays(path, frame, tasks) if ELAPSED in frame.columns else None,
        id_N=frame["request_id"].hash(_ID_SEED).to_numpy() if ELAPSED in frame.columns else None,
    )


def _weights(path: Path, column: pl.Series) -> npt.NDArray[np.float32]:
    """Weights of the rows; null, in files without weights, is 1."""
    weights_N = column.cast(pl.Float64).fill_null(1.0).to_numpy().astype(np.float32)
    wrong_N = ~(np.isfinite(weights_N) & (weights_N >= 1))
    if wrong_N.any():
        raise ExampleError(f"{path}: {WEIGHT} is {weights_N[wrong_N][0]:g}; 1 or more fits")
    return weights_N


def _delays(path: Path, frame: pl.DataFrame, tasks: TaskSet) -> npt.NDArray[np.float64]:
    """Delays of the events that happened; NaN where it is null."""
    delay_NT = np.stack([_floats(frame[f"delay_{name}"]) for name in tasks.names], axis=1)
    wrong_NT = delay_NT < 0
    if wrong_NT.any():
        name = tasks.names[int(np.flatnonzero(wrong_NT.any(axis=0))[0])]
        raise ExampleError(f"{path}: delay_{name} is {delay_NT[wrong_NT][0]:g} ms; 0 or more fits")
    return delay_NT


def _features(path: Path, column: pl.Series, spec: FeatureSpec) -> npt.NDArray[np.int32]:
    widths = column.list.len().unique().to_list()
    if widths != [spec.columns]:
        raise ExampleError(f"{path}: features has {widths} ids; {spec.columns} are needed")
    flat = column.explode()
    if flat.null_count():
        raise ExampleError(f"{path}: features contains null")
    ids_NC = flat.to_numpy().reshape(len(column), spec.columns).astype(np.int32)
    if ids_NC.min() < 0 or ids_NC.max() >= spec.rows:
        raise ExampleError(
            f"{path}: features holds ids from {ids_NC.min()} to {ids_NC.max()}; "
            f"the spec's go from 0 to {spec.rows - 1}"
        )
    return ids_NC


def _labels(path: Path, column: pl.Series) -> npt.NDArray[np.float32]:
    values_N = _floats(column).astype(np.float32)
    wrong_N = ~(np.isnan(values_N) | (values_N == 0) | (values_N == 1))
    if wrong_N.any():
        raise ExampleError(f"{path}: {column.name} is {values_N[wrong_N][0]:g}; 0, 1 or null fits")
    return values_N


def _floats(column: pl.Series) -> npt.NDArray[np.float64]:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _names(paths: Paths) -> str:
    return str(paths) if isinstance(paths, str | Path) else ", ".join(str(path) for path in paths)
