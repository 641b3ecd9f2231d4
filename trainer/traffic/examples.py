"""Writes traffic to files: example stores (Parquet) and raw requests (JSON Lines).

Stores are as in "models/data" of ARCHITECTURE.md. Examples of simulated traffic have mature labels
and true probabilities; these labels ignore the attribution windows, so each is a draw from
``p_true``. Labels of real traffic follow their attribution windows.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from polars.io.plugins import register_io_source

from models.data.examples import example_schema
from models.features import FeatureSpec
from models.features.extractor import Extractor
from models.tasks import TaskSet
from stream.messages import Reason
from trainer.simulation.simulator import Simulator
from trainer.simulation.traffic import Traffic
from trainer.traffic.jd import JdRequests

ROW_GROUP = 32_768
EXTRACT = 512
"""Requests decoded at once: few enough to stay in the processor's cache."""

Labels = npt.NDArray[np.float64]


def write_examples(
    simulator: Simulator, count: int, path: str | Path, spec: FeatureSpec, start: int = 0
) -> None:
    """Write simulated requests ``start`` to ``start + count - 1`` with true probabilities.

    Args:
        simulator: Simulator of the requests.
        count: Number of examples.
        path: The Parquet file to write, row group by row group; its folder is created.
        spec: Feature spec.
        start: Number of the first request in the stream.
    """
    labelled = (
        (traffic, traffic.reached.astype(np.float64))
        for traffic in batches(simulator, start, count)
    )
    _write(labelled, path, simulator.tasks, spec, p_true=True)


def write_jd_examples(jd: JdRequests, path: str | Path, spec: FeatureSpec) -> int:
    """Write the labelled JD requests (split 1) and return their number.

    A label is null if the data end before the task's window.
    """
    rows_K = np.flatnonzero(jd.split_N == 1)
    labels_NT = jd.labels()
    first, last = int(rows_K[0]), int(rows_K[-1]) + 1
    if len(rows_K) != last - first:
        raise ValueError("jd: the labelled requests (split 1) must come before all others")
    _write([(jd.traffic[first:last], labels_NT[first:last])], path, jd.tasks, spec, p_true=False)
    return len(rows_K)


def write_requests(simulator: Simulator, count: int, path: str | Path, start: int = 0) -> None:
    """Write the requests unchanged, one per line."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("wb") as file:
        for traffic in batches(simulator, start, count):
            file.writelines(value + b"\n" for value in traffic.values)


def batches(
    simulator: Simulator, start: int, count: int, size: int = ROW_GROUP
) -> Iterator[Traffic]:
    """The requests ``start`` to ``start + count - 1`` in pieces of at most ``size``."""
    for first in range(start, start + count, size):
        yield simulator.batch(first, min(size, start + count - first))


def extract(
    extractor: Extractor, values: Sequence[bytes], times_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Feature ids of N requests in JSON, at their times (ms), shape (N, C)."""
    scanned = extractor.scan(values, times_N, sys.maxsize)
    rest = [n for n, found in enumerate(scanned.request_ids) if found is None]
    for part in (rest[first : first + EXTRACT] for first in range(0, len(rest), EXTRACT)):
        requests = [orjson.loads(values[n]) for n in part]
        scanned.ids_NC[part] = extractor.extract(requests, times_N[part])
    return scanned.ids_NC


def _write(
    labelled: Iterable[tuple[Traffic, Labels]],
    path: str | Path,
    tasks: TaskSet,
    spec: FeatureSpec,
    p_true: bool,
) -> None:
    schema = example_schema(tasks, p_true=p_true)
    extractor = spec.extractor()

    def source(
        _with_columns: list[str] | None,
        _predicate: pl.Expr | None,
        _n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for traffic, labels_NT in labelled:
            ids_NC = extract(extractor, traffic.values, traffic.timestamps)
            columns = _columns(traffic, labels_NT, tasks, spec, ids_NC)
            yield pl.DataFrame({name: columns[name] for name in schema}, schema)

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    register_io_source(source, schema=schema).sink_parquet(path, row_group_size=ROW_GROUP)


def _columns(
    traffic: Traffic,
    labels_NT: Labels,
    tasks: TaskSet,
    spec: FeatureSpec,
    ids_NC: npt.NDArray[np.int32],
) -> dict[str, pl.Series]:
    """The columns of :func:`example_schema`, with the decision of a filter that passes all."""

    def constant(value: str | float | None) -> pl.Series:
        return pl.Series([value]).new_from_index(0, len(traffic))

    columns = {
        "request_id": pl.Series(traffic.ids),
        "ts": pl.Series(traffic.timestamps),
        "spec": constant(spec.hash),
        "features": pl.Series(ids_NC, dtype=pl.Array(pl.Int32, spec.columns)).arr.to_list(),
        "model": constant(""),
        "reason": constant(Reason.FAIL_OPEN.label),
        "e": constant(None),
        "threshold": constant(None),
        "propensity": constant(1.0),
    }
    for column, name in enumerate(tasks.names):
        columns[f"label_{name}"] = pl.Series(labels_NT[:, column]).fill_nan(None).cast(pl.Int8)
        columns[f"p_true_{name}"] = pl.Series(traffic.p_true[:, column])
    return columns
