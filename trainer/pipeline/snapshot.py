"""Snapshot of the example store for a rebuild: the latest example of every request.

The parts are read twice. The first pass reads ids, times and labels, some 50 bytes per stored row,
and selects the rows; the second pass copies these, one part at a time. So memory grows with the
number of rows only, and not with their features.
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
from trainer.pipeline.part_checksum import DamagedPartError, verify_checksum

FILE_ROWS: Final = 65_536
"""Least number of rows after which a file of the snapshot is written."""
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Summary of a written snapshot.

    Attributes:
        rows: Number of requests in it.
        too_many: Requests left out because the limit was reached; they are the oldest.
        unfit: Requests left out because their features do not fit the spec.
        unreadable: Parts that could not be read, with the reason.
    """

    rows: int
    too_many: int
    unfit: int
    unreadable: dict[Path, str]


def write_snapshot(
    parts: Sequence[Path], folder: Path, spec: FeatureSpec, tasks: TaskSet, most: int
) -> Snapshot:
    """Write every request with labels for all tasks once, with its latest example.

    Args:
        parts: Files of an example store, oldest first; the last example of a request counts.
        folder: Folder of the files; it is created.
        spec: Feature spec; examples of other specs are left out.
        tasks: Tasks that need a label.
        most: Largest number of requests; the newest are kept.

    Raises:
        OSError: If the snapshot cannot be written.
    """
    unreadable: dict[Path, str] = {}
    selected, too_many = _select(parts, spec, tasks, most, unreadable)
    folder.mkdir(parents=True)
    rows = unfit = number = 0
    pending: list[pl.DataFrame] = []
    for part, kept_N in selected:
        try:
            frame = pl.read_parquet(part, glob=False).filter(pl.Series(kept_N))
        except pl.exceptions.PolarsError as error:
            unreadable[part] = str(error)
            continue
        fit = frame.filter(_fits(spec))
        unfit += len(frame) - len(fit)
        rows += len(fit)
        pending.append(fit)
        if sum(map(len, pending)) >= FILE_ROWS:
            _write(pending, folder, number)
            pending, number = [], number + 1
    if pending or number == 0:
        _write(pending, folder, number)
    return Snapshot(rows, too_many, unfit, unreadable)


def _select(
    parts: Sequence[Path], spec: FeatureSpec, tasks: TaskSet, most: int, unreadable: dict[Path, str]
) -> tuple[Iterator[tuple[Path, Booleans]], int]:
    """Mask of the selected rows of every part, and the number of requests over the limit."""
    known = pl.all_horizontal([pl.col(f"label_{name}").is_not_null() for name in tasks.names])
    read: list[Path] = []
    columns: list[pl.DataFrame] = []
    for part in parts:
        try:
            verify_checksum(part)
            columns.append(
                pl.scan_parquet(part, glob=False)
                .select(
                    id=pl.col("request_id").hash(),
                    ts=pl.col("ts"),
                    known=known,
                    of_spec=pl.col("spec") == spec.hash,
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
    of_spec_K = np.flatnonzero(seen["of_spec"].to_numpy())
    _, last_K = np.unique(seen["id"].to_numpy()[of_spec_K][::-1], return_index=True)
    newest_K = of_spec_K[len(of_spec_K) - 1 - last_K]
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
        # Parts of older versions have no column for weights.
        joined = pl.concat(frames, how="diagonal")
        joined.write_parquet(folder / f"examples-{number:05d}.parquet")
