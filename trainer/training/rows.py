"""The rows of one training, laid out in flat memory-mapped files, so that RAM need not hold them.

The Parquet files are read twice, chunk by chunk. The first pass reads times and labels and assigns
every row its position; the second pass writes it there:

    held out, the newest labelled rows | labelled | unlabelled

Labelled rows are in order of time (ties as stored), unlabelled rows as stored. Rows of a snapshot
have no order of their own (how a store is cut into files depends on when its trainer wrote, and on
compaction): there all are in order of time and ties in the order of their ids, so that equal rows
give the same training. A row of 121 ids takes 242 bytes on disk; the kernel caches as much of the
files as RAM allows. Which rows are held out, and which labels are final, is decided by age
(:mod:`trainer.training.delay.maturity`).

N rows in all, K rows of a range, C columns of ids, T tasks.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor
from xxhash import xxh3_128

from models.data.examples import (
    FINAL_MS,
    ExampleError,
    Examples,
    Paths,
    example_files,
    stream_examples,
)
from models.features import FeatureSpec
from models.tasks import TaskSet
from trainer.training.delay.maturity import (
    FINAL,
    Uses,
    closing_ages,
    held_out_rows,
    is_aged,
    usable,
)
from trainer.training.row_range import OpenLabels, RowRange, range_of

Integers = npt.NDArray[np.int64]
_SMALL_IDS: Final = 2**15
_NOT_LEARNED_FROM: Final = ("p_true_NT",)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """All rows of one training.

    Attributes:
        all_rows: Held-out, labelled and unlabelled rows, in this order.
        held_out: Number of held-out rows.
        labelled: Number of other rows with a label that the delay method uses.
        ts_min: Time of the first labelled row that is not held out, ms.
        ts_max: Time of the last one, ms.
        digests: Hashes of the contents of examples and unlabelled rows.
        propensities_N: Probability of the decision by which each row was observed, float64, in the
            order of ``all_rows``; NaN where unknown.
    """

    all_rows: RowRange
    held_out: int
    labelled: int
    ts_min: int
    ts_max: int
    digests: dict[str, str]
    propensities_N: Tensor

    @property
    def held_out_rows(self) -> RowRange:
        """The held-out rows: of every task the newest whose labels are final."""
        return self.all_rows.slice(0, self.held_out)

    @property
    def labelled_rows(self) -> RowRange:
        """The labelled rows that are not held out: what the teacher is fitted on."""
        return self.all_rows.slice(self.held_out, self.held_out + self.labelled)

    @property
    def unlabelled(self) -> int:
        """Number of rows without a label that is used."""
        return len(self.all_rows) - self.held_out - self.labelled


@dataclass(frozen=True, slots=True)
class _Layout:
    """Position of every row in the files; ``positions_N`` is in stored order."""

    positions_N: Integers
    held_out: int
    labelled: int
    ts_min: int
    ts_max: int
    closing_T: Integers
    delayed: bool


def lay_out(
    examples: Paths,
    unlabelled: Paths | None,
    spec: FeatureSpec,
    tasks: TaskSet,
    *,
    held_out: float,
    folder: Path,
    progress: Progress,
    uses: Uses = FINAL,
) -> TrainingRows:
    """Write all rows to flat files.

    Memory: some 100 bytes per row while positions are assigned, and one chunk of 65,536 rows.

    Args:
        examples: Parquet files or folders of them (see :mod:`models.data.examples`).
        unlabelled: Further examples, whose labels are ignored.
        spec: Feature spec that their features were extracted with.
        tasks: The tasks.
        held_out: Share of the rows with final labels, the newest, that is held out.
        folder: Folder of the files.
        progress: Progress display.
        uses: Rows that are learned from; the held-out rows do not depend on it.

    Raises:
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
    """
    # Both passes read the same files, even if some are added to a folder meanwhile.
    files = example_files(examples)
    pool = [] if unlabelled is None else example_files(unlabelled)
    layout = _layout(files, spec, tasks, held_out, uses)
    pooled = sum(len(chunk) for chunk in _stream(pool, spec, tasks))
    rows = _Files.create(folder, len(layout.positions_N) + pooled, spec, tasks, layout)
    bar = progress.add_task("reading rows", total=rows.count)
    digests, start = {}, 0
    for name, paths in (("examples", files), ("unlabelled", pool)):
        digest = xxh3_128()
        for chunk in _stream(paths, spec, tasks):
            _update(digest, chunk)
            stop = start + len(chunk)
            if name == "unlabelled":
                rows.put(np.arange(start, stop), _without_labels(chunk), tasks)
            else:
                rows.put(layout.positions_N[start:stop], chunk, tasks)
            progress.advance(bar, len(chunk))
            start = stop
        digests[name] = digest.hexdigest()
    laid_out = TrainingRows(
        all_rows=rows.as_range(),
        held_out=layout.held_out,
        labelled=layout.labelled,
        ts_min=layout.ts_min,
        ts_max=layout.ts_max,
        digests=digests,
        propensities_N=torch.from_numpy(rows.propensities_N),
    )
    _check_learnable(laid_out.labelled_rows.targets_KT, tasks)
    return laid_out


def _update(digest: xxh3_128, chunk: Examples) -> None:
    """Add everything of a chunk that the training depends on."""
    for field in fields(chunk):
        content = getattr(chunk, field.name)
        if content is not None and field.name not in _NOT_LEARNED_FROM:
            digest.update(np.ascontiguousarray(content).data)


def _stream(paths: Sequence[Path], spec: FeatureSpec, tasks: TaskSet) -> Iterator[Examples]:
    return stream_examples(paths, spec, tasks) if paths else iter(())


def _without_labels(chunk: Examples) -> Examples:
    unknown_NT = np.full_like(chunk.labels_NT, np.nan)
    return replace(chunk, labels_NT=unknown_NT, elapsed_N=None, delay_NT=None)


def _layout(
    files: Sequence[Path], spec: FeatureSpec, tasks: TaskSet, held_out: float, uses: Uses
) -> _Layout:
    times, known, elapsed, ids, delayed = [], [], [], [], False
    closing_T = np.full(len(tasks), FINAL_MS)
    for chunk in stream_examples(files, spec, tasks):
        times.append(chunk.ts_N)
        known.append(~np.isnan(chunk.labels_NT))
        elapsed.append(chunk.elapsed)
        ids.append(chunk.ids)
        closing_T = np.minimum(closing_T, closing_ages(chunk))
        delayed |= chunk.elapsed_N is not None
    if not times:
        raise ExampleError(f"{files[0]}: it contains no examples")
    ts_N = np.concatenate(times)
    order_N = np.lexsort((np.concatenate(ids), ts_N)) if delayed else np.arange(len(ts_N))
    ts_N = ts_N[order_N]
    known_NT, elapsed_N = (np.concatenate(parts)[order_N] for parts in (known, elapsed))
    held_K = held_out_rows(ts_N, known_NT, elapsed_N, closing_T, held_out)
    used_N = usable(known_NT, is_aged(elapsed_N, closing_T), uses)
    used_N[held_K] = False
    used_K = np.flatnonzero(used_N)
    used_K = used_K[np.argsort(ts_N[used_K], kind="stable")]
    placed_K = np.concatenate([held_K, used_K])
    rest_N = np.ones(len(ts_N), np.bool_)
    rest_N[placed_K] = False
    positions_N = np.empty(len(ts_N), np.int64)
    positions_N[order_N[placed_K]] = np.arange(len(placed_K))
    positions_N[order_N[rest_N]] = np.arange(len(placed_K), len(ts_N))
    first, last = (int(ts_N[used_K[n]]) for n in (0, -1)) if len(used_K) else (0, 0)
    return _Layout(positions_N, len(held_K), len(used_K), first, last, closing_T, delayed)


@dataclass(frozen=True, slots=True)
class _OpenFiles:
    """The mapped files of labels that are not final."""

    seen_NT: npt.NDArray[np.float32]
    elapsed_N: npt.NDArray[np.int64]
    delays_NT: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Files:
    """The mapped files while they are written."""

    ids_NC: npt.NDArray[np.int16] | npt.NDArray[np.int32]
    labels_NT: npt.NDArray[np.float32]
    targets_NT: npt.NDArray[np.float32]
    weights_N: npt.NDArray[np.float32]
    propensities_N: npt.NDArray[np.float64]
    closing_T: Integers
    opened: _OpenFiles | None

    @classmethod
    def create(
        cls, folder: Path, rows: int, spec: FeatureSpec, tasks: TaskSet, layout: _Layout
    ) -> "_Files":
        small = np.int16 if spec.rows <= _SMALL_IDS else np.int32
        return cls(
            ids_NC=mapped(folder / "ids", small, (rows, spec.columns)),
            labels_NT=mapped(folder / "labels", np.float32, (rows, len(tasks))),
            targets_NT=mapped(folder / "targets", np.float32, (rows, len(tasks))),
            weights_N=mapped(folder / "weights", np.float32, (rows,)),
            propensities_N=mapped(folder / "propensities", np.float64, (rows,)),
            closing_T=layout.closing_T,
            opened=_OpenFiles(
                seen_NT=mapped(folder / "seen", np.float32, (rows, len(tasks))),
                elapsed_N=mapped(folder / "elapsed", np.int64, (rows,)),
                delays_NT=mapped(folder / "delays", np.float64, (rows, len(tasks))),
            )
            if layout.delayed
            else None,
        )

    @property
    def count(self) -> int:
        return len(self.ids_NC)

    def put(self, positions_K: Integers, chunk: Examples, tasks: TaskSet) -> None:
        rows = range_of(chunk, self.closing_T, tasks)
        self.ids_NC[positions_K] = rows.ids_KC
        self.labels_NT[positions_K] = rows.labels_KT
        self.targets_NT[positions_K] = rows.targets_KT
        self.weights_N[positions_K] = rows.weights_K
        self.propensities_N[positions_K] = chunk.propensity_N
        if self.opened is not None and rows.opened is not None:
            self.opened.seen_NT[positions_K] = rows.opened.seen_KT
            self.opened.elapsed_N[positions_K] = rows.opened.elapsed_K
            self.opened.delays_NT[positions_K] = rows.opened.delays_KT

    def as_range(self) -> RowRange:
        return RowRange(
            torch.from_numpy(self.ids_NC),
            torch.from_numpy(self.labels_NT),
            torch.from_numpy(self.targets_NT),
            torch.from_numpy(self.weights_N),
            self._open_labels(),
        )

    def _open_labels(self) -> OpenLabels | None:
        if self.opened is None:
            return None
        files = (self.opened.seen_NT, self.opened.elapsed_N, self.opened.delays_NT, self.closing_T)
        return OpenLabels(*map(torch.from_numpy, files))


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new array of zeros in a memory-mapped file.

    Raises:
        OSError: If the disk has no room for the whole file; a write to the mapping could not
            report that.
    """
    size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, dtype, "r+", shape=shape)


def _check_learnable(targets_KT: Tensor, tasks: TaskSet) -> None:
    """Check that every task has both classes in its population.

    Raises:
        ExampleError: Naming the first task that has not.
    """
    known_T, positives_T = counts(targets_KT)
    for name, known, positives in zip(
        tasks.names, known_T.tolist(), positives_T.tolist(), strict=True
    ):
        if not 0 < positives < known:
            raise ExampleError(
                f"label_{name}: {positives} positives in {known} rows of its population whose "
                "labels are final; both classes are needed"
            )


def counts(targets_KT: Tensor, chunk: int = 65_536) -> tuple[Tensor, Tensor]:
    """Number of known targets and of positives per task, each int64 (T,)."""
    known_T = torch.zeros(targets_KT.shape[1], dtype=torch.int64)
    positives_T = torch.zeros_like(known_T)
    for targets_BT in torch.split(targets_KT, chunk):
        known_T += (~targets_BT.isnan()).sum(0)
        positives_T += (targets_BT == 1).sum(0)
    return known_T, positives_T
