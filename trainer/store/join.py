"""Joins requests with their outcomes by id, in buckets of the id's hash on disk.

The newest delivery of an id is its request: the latest event time, then the highest partition and
offset of its record. Ids are compared by a 64-bit hash: among five million requests two share one
with a probability of 1e-6.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from trainer.store.event_table import DataFile
from trainer.store.files import FileReader
from trainer.store.spill import Records, Spill, bucket_of

_SEED: Final = 0x77656972
NO_EVENT: Final = -1
"""Delay of a request without an event of the task."""

REQUEST: Final = np.dtype(
    [
        ("id", "u8"),
        ("ts", "i8"),
        ("offset", "i8"),
        ("partition", "i4"),
        ("file", "u4"),
        ("row", "u4"),
    ]
)
"""A delivery of a request: hash of its id, its record, and its place in the store."""
OUTCOME: Final = np.dtype([("id", "u8"), ("ts", "i8"), ("task", "u1")])
"""A delivery of an outcome: hash of the request's id, event time, index of the task."""
Ints = npt.NDArray[np.int64]


def id_hash() -> pl.Expr:
    """Hash of the id of a row."""
    return pl.col("request_id").hash(_SEED)


class BucketJoin:
    """Requests and outcomes of one join, in a folder of temporary files.

    Args:
        folder: An existing folder.
        buckets: Number of buckets.
        reader: Reads the store's files.
    """

    def __init__(self, folder: Path, buckets: int, reader: FileReader) -> None:
        self.buckets = range(buckets)
        self._reader = reader
        self._requests = Spill(folder, "requests", REQUEST)
        self._outcomes = Spill(folder, "outcomes", OUTCOME)

    def add_requests(self, file: DataFile, number: int, spec: str | None) -> int:
        """Spill the requests of a file; the number of rows.

        Args:
            file: The file.
            number: Its number, for :data:`REQUEST`.
            spec: Hash of the feature spec whose requests are read; None for all.
        """
        columns = [id_hash().alias("id"), *map(pl.col, ("ts", "offset", "partition", "row"))]
        of_spec = pl.lit(value=True) if spec is None else pl.col("spec") == spec
        frame = self._reader.read(
            file, lambda rows: rows.with_row_index("row").filter(of_spec).select(columns)
        )
        if frame is None or not len(frame):
            return 0
        self._requests.add(*self._records(frame, REQUEST, file=number))
        return len(frame)

    def add_outcomes(self, files: Iterable[DataFile], tasks: Sequence[str]) -> None:
        """Spill the outcomes of these tasks."""
        index = pl.col("task").replace_strict(
            list(tasks), range(len(tasks)), default=None, return_dtype=pl.UInt8
        )
        for file in files:
            frame = self._reader.read(
                file,
                lambda rows: rows.select(id_hash().alias("id"), "ts", task=index).filter(
                    pl.col("task").is_not_null()
                ),
            )
            if frame is not None and len(frame):
                self._outcomes.add(*self._records(frame, OUTCOME))

    def keep_newest(self, bucket: int) -> Records:
        """Remove all but the newest delivery of every id from a bucket; returns these."""
        records_N = self._requests.read(bucket)
        order_N = np.lexsort([records_N[key] for key in ("offset", "partition", "ts", "id")])
        ids_N = records_N["id"][order_N]
        last_N = np.ones(len(ids_N), np.bool_)
        last_N[:-1] = ids_N[1:] != ids_N[:-1]
        newest_K = records_N[order_N[last_N]]
        self._requests.replace(bucket, newest_K)
        return newest_K

    def requests(self, bucket: int) -> Records:
        """The requests of a bucket."""
        return self._requests.read(bucket)

    def delays(self, bucket: int, requests_N: Records, windows_ms: Sequence[int]) -> Ints:
        """Time from each request to the first event within its window, ms, of shape (N, T).

        Args:
            bucket: Bucket of all the requests.
            requests_N: Requests with distinct ids.
            windows_ms: Window of each task.
        """
        delays_NT = np.full((len(requests_N), len(windows_ms)), NO_EVENT, np.int64)
        outcomes = _frame(self._outcomes.read(bucket), "id", "ts", "task")
        requests = _frame(requests_N, "id", "ts").with_row_index("row")
        hits = outcomes.join(requests, on="id", how="inner", suffix="_request")
        hits = hits.select("row", "task", delay=pl.col("ts") - pl.col("ts_request"))
        windows = pl.col("task").replace_strict(
            range(len(windows_ms)), list(windows_ms), return_dtype=pl.Int64
        )
        inside = (pl.col("delay") > 0) & (pl.col("delay") <= windows)
        first = hits.filter(inside).group_by("row", "task").agg(pl.col("delay").min())
        delays_NT[first["row"].to_numpy(), first["task"].to_numpy()] = first["delay"].to_numpy()
        return delays_NT

    def with_outcome(self, bucket: int, requests_N: Records) -> npt.NDArray[np.bool_]:
        """Whether the id of each request has an outcome at any time."""
        return np.isin(requests_N["id"], self._outcomes.read(bucket)["id"])

    def _records(
        self, frame: pl.DataFrame, dtype: np.dtype[np.void], **constants: int
    ) -> tuple[Records, npt.NDArray[np.int64]]:
        records_N = np.empty(len(frame), dtype)
        for name in dtype.names or ():
            records_N[name] = constants[name] if name in constants else frame[name].to_numpy()
        return records_N, bucket_of(records_N["id"], len(self.buckets)).astype(np.int64)


def _frame(records_N: Records, *names: str) -> pl.DataFrame:
    return pl.DataFrame({name: np.ascontiguousarray(records_N[name]) for name in names})
