"""Snapshot of the store: every request once, joined with its outcomes as of the watermark.

Memory does not grow with the store (:mod:`trainer.store.join`). The first pass reads ids and times
of the newest hours, as many as are needed, and of the outcomes since then, into buckets on disk;
each bucket is joined on its own. The second pass copies the selected rows file by file.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.features import FeatureSpec
from trainer.store.event_table import GROUP_ROWS, DataFile, EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES, stored_watermark
from trainer.store.files import FileReader
from trainer.store.join import NO_EVENT
from trainer.store.newest import NewestRequests
from trainer.store.schemas import EXAMPLE_COLUMNS, hour_of
from trainer.store.spill import Records, Spill
from trainer.store.windows import AttributionWindows

FILE_ROWS: Final = 65_536
"""Least number of rows after which a file of the snapshot is written."""
COPIED: Final = tuple(
    name for name in EXAMPLE_COLUMNS if name not in {"partition", "offset", "thinned", "hour"}
)
"""Columns of the store that a snapshot has."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Summary of a written snapshot.

    Attributes:
        rows: Number of requests in it.
        watermark: Event time up to which outcomes were known, ms; None: no request was stored.
        too_many: Deliveries left out because the limit was reached; they are the oldest.
        unfit: Requests left out because their features do not fit the spec.
        unreadable: Files that could not be read, with the reason.
    """

    rows: int
    watermark: int | None
    too_many: int
    unfit: int
    unreadable: dict[str, str]


def write_snapshot(
    store: str,
    folder: Path,
    spec: FeatureSpec,
    windows: AttributionWindows,
    most: int,
    watermark_ms: int | None = None,
    last_hour: str | None = None,
) -> Snapshot:
    """Write every request once, with a label, a delay and the elapsed time for each task.

    ``label_<task>`` is 1 if an outcome of the task lies within the window of the request, 0 if the
    window has closed without one, and null while it is open. ``delay_<task>`` is the time from the
    request to the first such outcome, null without one; ``elapsed`` is the time from the request to
    the watermark, at least 0. All times are in ms.

    Args:
        store: Folder or URL of the store.
        folder: Folder of the files; it is created.
        spec: Feature spec; requests of other specs are left out.
        windows: Windows of the tasks that get labels.
        most: Largest number of requests; the newest are kept.
        watermark_ms: The watermark; None for the one that was stored last.
        last_hour: Requests of later hours are left out, so that the newest of an earlier time are
            taken; None for no such limit.

    Raises:
        StoreError: If there is no such store, or its log cannot be read.
        OSError: If the snapshot cannot be written.
    """
    # In this order: the watermark of the examples claims no outcome that is not in the other table.
    examples, outcomes = EventTable(store, EXAMPLES), EventTable(store, OUTCOMES)
    if watermark_ms is None:
        watermark_ms = stored_watermark(examples, outcomes)
    folder.mkdir(parents=True)
    reader = FileReader()
    with TemporaryDirectory() as temporary:
        files = [file for file in examples.files if last_hour is None or file.hour <= last_hour]
        newest = NewestRequests(files, most, spec.hash, reader, Path(temporary))
        rows = _join(newest, outcomes.files, windows, Path(temporary))
        copy = _Copy(folder, spec, windows, watermark_ms)
        for number, file in newest.files:
            copy.add(file, rows.read(number), reader)
            rows.remove(number)
        copy.finish()
    return Snapshot(copy.rows, watermark_ms, newest.left_out, copy.unfit, reader.unreadable)


def _join(
    newest: NewestRequests, outcomes: list[DataFile], windows: AttributionWindows, folder: Path
) -> Spill:
    """Selected rows with their delays, by number of the file."""
    selected = Spill(folder, "rows", _row_type(len(windows.names)))
    first_hour = hour_of(newest.first_ms)
    newest.join.add_outcomes((file for file in outcomes if file.hour >= first_hour), windows.names)
    for bucket in newest.join.buckets:
        requests_N = newest.selected(bucket)
        rows_N = np.empty(len(requests_N), selected.dtype)
        rows_N["row"], rows_N["ts"] = requests_N["row"], requests_N["ts"]
        rows_N["delays"] = newest.join.delays(bucket, requests_N, windows.windows_ms)
        selected.add(rows_N, requests_N["file"].astype(np.int64))
    return selected


def _row_type(tasks: int) -> np.dtype[np.void]:
    return np.dtype([("row", "u4"), ("ts", "i8"), ("delays", "i8", (tasks,))])


class _Copy:
    """Copies selected rows, with their labels, into the files of the snapshot."""

    def __init__(
        self,
        folder: Path,
        spec: FeatureSpec,
        windows: AttributionWindows,
        watermark_ms: int | None,
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._windows = windows
        self._watermark_ms = watermark_ms
        self._pending: list[pl.DataFrame] = []
        self._number = 0
        self.rows = 0
        self.unfit = 0

    def add(self, file: DataFile, rows_K: Records, reader: FileReader) -> None:
        """Copy these rows of a file, a row group at a time."""
        rows_K = np.sort(rows_K, order="row")
        for start in range(0, file.rows, GROUP_ROWS):
            first, end = np.searchsorted(rows_K["row"], (start, start + GROUP_ROWS))
            if first == end:
                continue
            chosen_K = rows_K[first:end]
            picked = pl.Series(chosen_K["row"] - start).cast(pl.UInt32)
            frame = reader.read(
                file,
                lambda rows, at=start: rows.select(COPIED).slice(at, GROUP_ROWS),  # type: ignore[misc]
            )
            if frame is not None:
                self._write(frame[picked].with_columns(self._labels(chosen_K)))

    def finish(self) -> None:
        """Write what is left; an empty snapshot has one file without rows."""
        if self._pending or self._number == 0:
            schema = {name: EXAMPLE_COLUMNS[name] for name in COPIED}
            empty = pl.DataFrame(schema=schema)
            self._pending.append(empty.with_columns(self._labels(np.empty(0, self._row_type))))
            self._flush()

    @property
    def _row_type(self) -> np.dtype[np.void]:
        return _row_type(len(self._windows.names))

    def _labels(self, rows_K: Records) -> list[pl.Series]:
        columns = [pl.Series("elapsed", self._elapsed(rows_K["ts"]), dtype=pl.Int64)]
        for task, name in enumerate(self._windows.names):
            delay_K = rows_K["delays"][:, task]
            happened_K = delay_K != NO_EVENT
            labels_K = happened_K.astype(np.int8)
            open_K = ~happened_K & ~self._final(task, rows_K["ts"])
            columns += [
                pl.Series(f"label_{name}", labels_K).set(pl.Series(open_K), None),
                pl.Series(f"delay_{name}", delay_K).set(pl.Series(~happened_K), None),
            ]
        return columns

    def _elapsed(self, ts_K: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.maximum(0, (self._watermark_ms or 0) - ts_K)

    def _final(self, task: int, ts_K: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if self._watermark_ms is None:
            return np.zeros(len(ts_K), np.bool_)
        return np.asarray(ts_K < self._windows.final_before(task, self._watermark_ms))

    def _write(self, frame: pl.DataFrame) -> None:
        fit = frame.filter(_fits(self._spec))
        self.unfit += len(frame) - len(fit)
        self.rows += len(fit)
        self._pending.append(fit)
        if sum(map(len, self._pending)) >= FILE_ROWS:
            self._flush()

    def _flush(self) -> None:
        path = self._folder / f"examples-{self._number:05d}.parquet"
        pl.concat(self._pending).write_parquet(path)
        self._pending, self._number = [], self._number + 1


def _fits(spec: FeatureSpec) -> pl.Expr:
    features = pl.col("features")
    return (
        (features.list.len() == spec.columns)
        & (features.list.min() >= 0)
        & (features.list.max() < spec.rows)
    )
