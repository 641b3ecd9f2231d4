"""Thinning of what has matured without any event: a share is kept, with a larger weight.

Once all labels of an hour are final, an example whose id has no outcome is kept if the hash of its
id falls into the share; its weight is then multiplied with the inverse of the share. All others
are kept as they are. Whether an example is kept thus depends on nothing but its id, and sums over
weighted examples stay unbiased (Horvitz and Thompson 1952). Every delivery of an id has the same
fate. A row that was decided about is marked (``thinned``) and never decided about again.

Outcomes are read for whole batches of hours, since a request's may lie up to the longest window
after it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

import fsspec
import msgspec
import numpy as np
import polars as pl
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from trainer.store.event_table import GROUP_ROWS, DataFile, EventTable
from trainer.store.files import FileReader
from trainer.store.join import BucketJoin
from trainer.store.maintenance import MaintenanceError
from trainer.store.schemas import EXAMPLE_COLUMNS, HOUR, HOUR_MS, hour_of, hour_start_ms
from trainer.store.spill import Records, Spill, buckets_for
from trainer.store.windows import AttributionWindows

FILE_ROWS: Final = 8 * GROUP_ROWS
"""Rows of a file that replaces others; compaction merges them."""
FOLDER: Final = "thinning-"
"""Prefix of the folders of temporary files."""
_KEPT: Final = np.dtype([("row", "u4"), ("factor", "f8")])


@dataclass(frozen=True, slots=True)
class Thinned:
    """What a run did.

    Attributes:
        hours: Number of hours.
        rows: Number of rows that were decided about, or had been before.
        dropped: How many of them were dropped.
    """

    hours: int
    rows: int
    dropped: int


def thin(
    examples: EventTable,
    outcomes: EventTable,
    windows: AttributionWindows,
    share: float,
    folder: Path,
    hours: int,
) -> Thinned:
    """Thin the oldest hours whose labels are all final, once there are enough of them.

    Args:
        examples: Table of the requests.
        outcomes: Table of the outcomes.
        windows: The windows of the tasks.
        share: Share of the requests without an event that is kept.
        folder: An existing folder for temporary files.
        hours: Number of hours that are thinned at once, and that must be there.

    Raises:
        MaintenanceError: If the files cannot be written, or not be committed.
    """
    batch = _hours(examples, windows, outcomes.watermark or 0)[:hours]
    if len(batch) < hours:
        return Thinned(0, 0, 0)
    files = [file for file in examples.files if file.hour in batch and not file.thinned]
    reader = FileReader()
    total = dropped = 0
    with TemporaryDirectory(prefix=FOLDER, dir=folder) as temporary:
        kept = _decide(files, outcomes.files, windows, share, reader, Path(temporary))
        for hour in batch:
            replaced = [(n, file) for n, file in enumerate(files) if file.hour == hour]
            rewrite = _Rewrite(examples, hour)
            try:
                for number, file in replaced:
                    rewrite.copy(file, kept.read(number), reader)
                rewrite.commit()
            except (DeltaError, OSError) as error:
                raise MaintenanceError(f"{examples.url}: thinning of {hour}: {error}") from error
            total, dropped = total + rewrite.read_rows, dropped + rewrite.dropped
    return Thinned(len(batch), total, dropped)


def _hours(examples: EventTable, windows: AttributionWindows, watermark_ms: int) -> list[str]:
    """Hours with files that were not thinned and labels that are all final, oldest first."""
    waiting = sorted({file.hour for file in examples.files if not file.thinned})
    final_ms = watermark_ms - windows.hold_ms
    return [hour for hour in waiting if hour_start_ms(hour) + HOUR_MS <= final_ms]


def _decide(
    files: list[DataFile],
    outcomes: list[DataFile],
    windows: AttributionWindows,
    share: float,
    reader: FileReader,
    folder: Path,
) -> Spill:
    """Rows that are kept, with the factor of their weight, by number of the file."""
    kept = Spill(folder, "kept", _KEPT)
    join = BucketJoin(folder, buckets_for(sum(file.rows for file in files)), reader)
    for number, file in enumerate(files):
        join.add_requests(file, number, None)
    longest_ms = max(windows.windows_ms)
    first = hour_of(max(0, min(file.first_ms for file in files) - longest_ms))
    last = hour_of(max(file.last_ms for file in files) + longest_ms)
    join.add_outcomes((file for file in outcomes if first <= file.hour <= last), windows.names)
    for bucket in join.buckets:
        requests_N = join.requests(bucket)
        whole_N = join.with_outcome(bucket, requests_N)
        chosen_N = requests_N["id"] < np.float64(share) * 2.0**64
        rows_N = np.empty(len(requests_N), _KEPT)
        rows_N["row"] = requests_N["row"]
        rows_N["factor"] = np.where(whole_N, 1.0, 1.0 / share)
        kept_N = whole_N | chosen_N
        kept.add(rows_N[kept_N], requests_N["file"][kept_N].astype(np.int64))
    return kept


class _Rewrite:
    """Replaces files of one hour by files of the kept rows, in one commit."""

    def __init__(self, table: EventTable, hour: str) -> None:
        self._table = table
        self._hour = hour
        self._pending: list[pl.DataFrame] = []
        self._actions: list[AddAction | RemoveAction] = []
        self.read_rows = 0
        self.dropped = 0

    def copy(self, file: DataFile, kept_K: Records, reader: FileReader) -> None:
        """Copy the kept rows of a file; one that cannot be read stays as it is."""
        factor_N = np.zeros(file.rows)
        factor_N[kept_K["row"]] = kept_K["factor"]
        rows: list[pl.DataFrame] = []
        for start in range(0, file.rows, GROUP_ROWS):
            frame = reader.read(file, lambda all_, at=start: all_.slice(at, GROUP_ROWS))  # type: ignore[misc]
            if frame is None:
                return
            decided = frame["thinned"] == 1
            factor = pl.Series(factor_N[start : start + len(frame)]).set(decided, 1.0)
            frame = frame.with_columns(
                weight=pl.col("weight") * factor, thinned=pl.lit(1, dtype=pl.Int8)
            )
            rows.append(frame.filter(factor > 0))
        count = sum(map(len, rows))
        self.read_rows += file.rows
        self.dropped += file.rows - count
        self._actions.append(
            RemoveAction(
                file.path,
                data_change=True,
                deletion_timestamp=_now_ms(),
                size=file.size,
                partition_values={HOUR: file.hour},
            )
        )
        self._pending += rows
        if sum(map(len, self._pending)) >= FILE_ROWS:
            self._flush()

    def commit(self) -> None:
        """Commit; without any file that could be read there is nothing to do."""
        self._flush()
        if self._actions:
            self._table.delta.create_write_transaction(
                self._actions, "append", self._table.delta.schema(), partition_by=[HOUR]
            )
            self._table.delta.update_incremental()

    def _flush(self) -> None:
        frame = pl.concat(self._pending) if self._pending else pl.DataFrame()
        self._pending = []
        if not len(frame):
            return
        path = f"{HOUR}={self._hour}/part-thinned-{uuid4()}.parquet"
        columns = [name for name in EXAMPLE_COLUMNS if name != HOUR]
        frame.select(columns).write_parquet(
            f"{self._table.url}/{path}", compression="zstd", row_group_size=GROUP_ROWS
        )
        statistics = {
            "numRecords": len(frame),
            "minValues": {"ts": frame["ts"].min(), "thinned": 1, "weight": frame["weight"].min()},
            "maxValues": {"ts": frame["ts"].max(), "thinned": 1, "weight": frame["weight"].max()},
            "nullCount": {"ts": 0, "thinned": 0, "weight": 0},
        }
        self._actions.append(
            AddAction(
                path,
                size=_size(f"{self._table.url}/{path}"),
                partition_values={HOUR: self._hour},
                modification_time=_now_ms(),
                data_change=True,
                stats=msgspec.json.encode(statistics).decode(),
            )
        )


def _size(url: str) -> int:
    system, path = fsspec.core.url_to_fs(url)
    return int(system.size(path))


def _now_ms() -> int:
    return int(time.time() * 1000)
