"""Simulated traffic as files: an example store whose truth is known, and the raw requests.

The store is as in "Examples" of ARCHITECTURE.md, every label mature and ``p_true_<task>`` beside
it. A label says whether the event happens at all, however late, so it is a draw from ``p_true``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from polars.io.plugins import register_io_source

from models.examples import example_schema
from models.features import FeatureSpec
from models.features.extractor import Extractor
from models.tasks import TaskSet
from trainer.traffic.simulator import Simulator
from trainer.traffic.traffic import Traffic

ROW_GROUP = 32_768
EXTRACT = 512
"""Requests decoded at once: few enough to stay in the processor's cache."""


def write_examples(
    simulator: Simulator, count: int, path: str | Path, spec: FeatureSpec, start: int = 0
) -> None:
    """Write requests ``start`` to ``start + count - 1`` as one Parquet file, group by group.

    Args:
        simulator: Where the requests and their truth come from.
        count: How many examples.
        path: The file to write; its folder is created.
        spec: Extracts the features.
        start: First request of the stream.
    """
    schema = example_schema(simulator.tasks, p_true=True)
    extractor = spec.extractor()

    def source(
        with_columns: list[str] | None,
        _predicate: pl.Expr | None,
        _n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for traffic in batches(simulator, start, count):
            ids_NC = extract(extractor, traffic.values)
            frame = pl.DataFrame(_columns(traffic, simulator.tasks, spec, ids_NC), schema)
            yield frame if with_columns is None else frame.select(with_columns)

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    register_io_source(source, schema=schema).sink_parquet(path, row_group_size=ROW_GROUP)


def extract(extractor: Extractor, values: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """Feature ids of N requests in JSON, shape (N, C), a few at a time."""
    parts = (values[first : first + EXTRACT] for first in range(0, len(values), EXTRACT))
    return np.concatenate([extractor.extract([orjson.loads(v) for v in part]) for part in parts])


def write_requests(simulator: Simulator, count: int, path: str | Path, start: int = 0) -> None:
    """Write the requests as they are, one per line."""
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


def _columns(
    traffic: Traffic, tasks: TaskSet, spec: FeatureSpec, ids_NC: npt.NDArray[np.int32]
) -> dict[str, pl.Series]:
    """The columns of :func:`example_schema`; nothing was decided, so everything passed."""
    count = len(traffic)
    features = pl.Series(ids_NC, dtype=pl.Array(pl.Int32, spec.columns)).arr.to_list()
    return {
        "request_id": pl.Series(traffic.ids),
        "ts": pl.Series(traffic.timestamps),
        "spec": pl.Series([spec.hash]).new_from_index(0, count),
        "features": features,
        **{
            f"label_{name}": pl.Series(traffic.reached[:, column].astype(np.int8))
            for column, name in enumerate(tasks.names)
        },
        "model": pl.Series([""]).new_from_index(0, count),
        "reason": pl.Series(["fail-open"]).new_from_index(0, count),
        "e": pl.Series([None], dtype=pl.Float64).new_from_index(0, count),
        "threshold": pl.Series([None], dtype=pl.Float64).new_from_index(0, count),
        "propensity": pl.Series([1.0]).new_from_index(0, count),
        **{
            f"p_true_{name}": pl.Series(traffic.p_true[:, column])
            for column, name in enumerate(tasks.names)
        },
    }
