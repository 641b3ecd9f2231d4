"""What a rebuild learns from: the newest example of every request, read in pieces.

The parts are read twice. The first pass sees ids, times and labels, some 50 bytes per stored row,
and finds the rows that count; the second one copies these, a piece at a time. So memory grows by
what must be known of every row at once, and not by what the rows hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.features import FeatureSpec
from models.tasks import TaskSet
from trainer.pipeline.parts import DamagedPartError, verify

#: Rows of a file of the snapshot.
FILE_ROWS: Final = 65_536
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was written.

    Attributes:
        rows: Requests in it.
        too_many: Requests left out because they are older than the newest that were asked for.
        unfit: Requests left out because their features are not the spec's.
        unreadable: Parts that could not be read, with the reason.
    """

    rows: int
    too_many: int
    unfit: int
    unreadable: dict[Path, str]


def write_snapshot(
    parts: Sequence[Path], folder: Path, spec: FeatureSpec, tasks: TaskSet, most: int
) -> Snapshot:
    """Write all requests whose labels are known, each once, as the spec made them.

    Args:
        parts: Files of an example store, oldest first; the last example of a request counts.
        folder: Where the files are made; it is made, too.
        spec: Examples of other specs are left out.
        tasks: Whose labels must be known.
        most: Only so many requests, the newest.

    Raises:
        OSError: If the disk does not take it.
    """
    unreadable: dict[Path, str] = {}
    rows_kept, too_many = _newest(parts, spec, tasks, most, unreadable)
    folder.mkdir(parents=True)
    rows = unfit = number = 0
    waiting: list[pl.DataFrame] = []
    for part, kept_N in rows_kept:
        try:
            frame = pl.read_parquet(part, glob=False).filter(pl.Series(kept_N))
        except pl.exceptions.PolarsError as error:
            unreadable[part] = str(error)
            continue
        fit = frame.filter(_fits(spec))
        unfit += len(frame) - len(fit)
        rows += len(fit)
        waiting.append(fit)
        if sum(map(len, waiting)) >= FILE_ROWS:
            _write(waiting, folder, number)
            waiting, number = [], number + 1
    if waiting or number == 0:
        _write(waiting, folder, number)
    return Snapshot(rows, too_many, unfit, unreadable)


def _newest(
    parts: Sequence[Path], spec: FeatureSpec, tasks: TaskSet, most: int, unreadable: dict[Path, str]
) -> tuple[Iterator[tuple[Path, Booleans]], int]:
    """Of every part the rows that count; and how many do not because they are too old."""
    known = pl.all_horizontal([pl.col(f"label_{name}").is_not_null() for name in tasks.names])
    read: list[Path] = []
    columns: list[pl.DataFrame] = []
    for part in parts:
        try:
            verify(part)
            columns.append(
                pl.scan_parquet(part, glob=False)
                .select(
                    id=pl.col("request_id").hash(),
                    ts=pl.col("ts"),
                    known=known,
                    ours=pl.col("spec") == spec.hash,
                )
                .collect()
            )
        except (DamagedPartError, pl.exceptions.PolarsError) as error:
            unreadable[part] = str(error)
            continue
        read.append(part)
    if not read:
        return iter(()), 0
    seen = pl.concat(columns, rechunk=False)
    ends = np.cumsum([len(frame) for frame in columns])
    del columns
    ours_K = np.flatnonzero(seen["ours"].to_numpy())
    _, last_K = np.unique(seen["id"].to_numpy()[ours_K][::-1], return_index=True)
    newest_K = ours_K[len(ours_K) - 1 - last_K]
    newest_K = newest_K[seen["known"].to_numpy()[newest_K]]
    too_many = max(0, len(newest_K) - most)
    if too_many:
        ts_K = seen["ts"].to_numpy()[newest_K]
        newest_K = newest_K[np.argsort(ts_K, kind="stable")[too_many:]]
    kept_N = np.zeros(len(seen), np.bool_)
    kept_N[newest_K] = True
    return zip(read, np.split(kept_N, ends[:-1]), strict=True), too_many


def _fits(spec: FeatureSpec) -> pl.Expr:
    features = pl.col("features")
    return (
        (features.list.len() == spec.columns)
        & (features.list.min() >= 0)
        & (features.list.max() < spec.rows)
    )


def _write(frames: list[pl.DataFrame], folder: Path, number: int) -> None:
    if frames:
        # Parts from before the weights have none.
        joined = pl.concat(frames, how="diagonal")
        joined.write_parquet(folder / f"examples-{number:05d}.parquet")
