"""The rows of a watch: the first requests that a version passed, with their labels.

They are read from the store directly, file by file from the swap on, until there are enough. So a
look costs the same whatever the store holds, and whatever passed since.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.artifact.scorer import Scorer
from trainer.store.event_table import EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES, stored_watermark
from trainer.store.files import FileReader
from trainer.store.windows import AttributionWindows
from trainer.watch.verdict import Floats, Watched

_COLUMNS: Final = ("request_id", "ts", "features", "weight")


def read_watched(
    store: str,
    version: str,
    since_ms: int,
    most: int,
    subject: Scorer,
    before: Scorer,
    windows: AttributionWindows,
    values_T: Floats,
) -> Watched:
    """Read the requests that a version passed, oldest first, and score them.

    A label counts once its window has closed, whether the event happened or not: events that come
    early would make a young version look too modest.

    Args:
        store: Folder or URL of the store.
        version: The version that decided the requests.
        since_ms: Time of the swap; earlier requests do not count.
        most: Largest number of requests, the first ones.
        subject: Scores with that version.
        before: Scores with the version before, of the same features.
        windows: Windows of the tasks.
        values_T: Value of one event of each task.

    Raises:
        ScoringError: If one of them fails.
        StoreError: If the store cannot be read.
    """
    # In this order: the watermark of the examples claims no outcome that is not in the other table.
    examples, outcomes = EventTable(store, EXAMPLES), EventTable(store, OUTCOMES)
    watermark_ms = stored_watermark(examples, outcomes) or 0
    spec = subject.artifact.spec
    frame = _passed(examples, version, spec.hash, since_ms, most)
    ids_NC: npt.NDArray[np.int32] = np.ascontiguousarray(
        frame["features"].explode().to_numpy().astype(np.int32).reshape(len(frame), spec.columns)
    )
    return Watched(
        subject.score(ids_NC)[0].astype(np.float64),
        before.score(ids_NC)[0].astype(np.float64),
        _labels(frame, outcomes, windows, watermark_ms),
        values_T,
        frame["weight"].fill_null(1.0).to_numpy(),
    )


def values_of(weights: dict[str, float], names: Sequence[str]) -> Floats:
    """Value of one event of each task: its weight in the policy, 0 for others."""
    return np.array([weights.get(name, 0.0) for name in names], np.float64)


def _passed(
    examples: EventTable, version: str, spec_hash: str, since_ms: int, most: int
) -> pl.DataFrame:
    """The first requests that a version passed, each once, by time."""
    wanted = (
        (pl.col("ts") >= since_ms) & (pl.col("model") == version) & (pl.col("spec") == spec_hash)
    )
    found = [pl.DataFrame(schema=_schema())]
    reader, rows = FileReader(), 0
    files = [file for file in examples.files if file.last_ms >= since_ms]
    for file in sorted(files, key=lambda file: file.first_ms):
        left = most - rows
        if left <= 0:
            break
        frame = reader.read(file, partial(_head, wanted=wanted, count=left))
        if frame is not None:
            found.append(frame.select(pl.col(name).cast(kind) for name, kind in _schema().items()))
            rows += len(frame)
    return (
        pl.concat(found)
        .sort("ts", "request_id")
        .unique("request_id", keep="last", maintain_order=True)
    )


def _head(rows: pl.LazyFrame, wanted: pl.Expr, count: int) -> pl.LazyFrame:
    return rows.filter(wanted).select(_COLUMNS).head(count)


def _schema() -> dict[str, pl.DataType]:
    kinds = (pl.String(), pl.Int64(), pl.List(pl.Int32()), pl.Float64())
    return dict(zip(_COLUMNS, kinds, strict=True))


def _labels(
    requests: pl.DataFrame, outcomes: EventTable, windows: AttributionWindows, watermark_ms: int
) -> Floats:
    """Labels of requests, NaN where the window has not closed; shape (N, T)."""
    ts_N = requests["ts"].to_numpy()
    windows_T = np.array(windows.windows_ms)
    labels_NT = np.zeros((len(ts_N), len(windows_T)))
    labels_NT[watermark_ms - ts_N[:, None] <= windows_T + windows.lateness_ms] = np.nan
    if not len(ts_N):
        return labels_NT
    ids = requests["request_id"]
    last_ms = int(ts_N[-1]) + max(windows.windows_ms)
    reader = FileReader()
    row_of = requests.select("request_id", request_ts="ts").with_row_index("row")
    for file in outcomes.files:
        if file.last_ms <= ts_N[0] or file.first_ms > last_ms:
            continue
        events = reader.read(
            file,
            lambda lazy: lazy.filter(pl.col("request_id").is_in(ids.implode())).select(
                "request_id", "task", "ts"
            ),
        )
        if events is None:
            continue
        for task, (name, window_ms) in enumerate(
            zip(windows.names, windows.windows_ms, strict=True)
        ):
            hits = events.filter(pl.col("task") == name).join(row_of, on="request_id")
            delay = pl.col("ts") - pl.col("request_ts")
            at_K = hits.filter((delay > 0) & (delay <= window_ms))["row"].to_numpy()
            final_K = at_K[np.isfinite(labels_NT[at_K, task])]
            labels_NT[final_K, task] = 1.0
    return labels_NT
