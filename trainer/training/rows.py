"""The rows of one training, laid out in flat memory-mapped files, so that RAM need not hold them.

The Parquet files are read twice, chunk by chunk. The first pass reads times and labels and assigns
every row its position; the second pass writes it there:

    held out, the newest labelled rows | labelled | unlabelled

Labelled rows are in order of time (ties as stored), unlabelled rows as stored. A row of 121 ids
takes 242 bytes on disk; the kernel caches as much of the files as RAM allows.

N rows in all, K rows of a range, C columns of ids, T tasks.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor
from xxhash import xxh3_128

from models.data.examples import ExampleError, Examples, Paths, example_files, stream_examples
from models.features import FeatureSpec
from models.tasks import TaskSet

Integers = npt.NDArray[np.int64]
_SMALL_IDS: Final = 2**15


@dataclass(frozen=True, slots=True)
class RowRange:
    """Consecutive rows, mapped from the disk.

    Attributes:
        ids_KC: Feature ids, int16 where all ids of the spec fit, else int32.
        labels_KT: Whether the events happened, float32; NaN where masked.
        targets_KT: Labels with every row outside a task's population masked as well.
        weights_K: Number of requests that each row represents, float32.
    """

    ids_KC: Tensor
    labels_KT: Tensor
    targets_KT: Tensor
    weights_K: Tensor

    def __len__(self) -> int:
        return len(self.ids_KC)

    def slice(self, start: int, stop: int) -> "RowRange":
        """Rows ``start`` to ``stop - 1``."""
        span = slice(start, stop)
        return RowRange(
            self.ids_KC[span], self.labels_KT[span], self.targets_KT[span], self.weights_K[span]
        )

    @property
    def uneven_weights(self) -> Tensor | None:
        """The weights, or None where all are equal."""
        even = len(self) == 0 or bool(self.weights_K.min() == self.weights_K.max())
        return None if even else self.weights_K


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """All rows of one training.

    Attributes:
        all_rows: Held-out, labelled and unlabelled rows, in this order.
        held_out: Number of held-out rows.
        labelled: Number of other rows with at least one label.
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
        """The held-out rows, the newest ones with labels."""
        return self.all_rows.slice(0, self.held_out)

    @property
    def labelled_rows(self) -> RowRange:
        """The labelled rows that are not held out: what the teacher is fitted on."""
        return self.all_rows.slice(self.held_out, self.held_out + self.labelled)

    @property
    def unlabelled(self) -> int:
        """Number of rows without a label."""
        return len(self.all_rows) - self.held_out - self.labelled


@dataclass(frozen=True, slots=True)
class _Layout:
    """Position of every row in the files; ``positions_N`` is in stored order."""

    positions_N: Integers
    held_out: int
    labelled: int
    ts_min: int
    ts_max: int


def lay_out(
    examples: Paths,
    unlabelled: Paths | None,
    spec: FeatureSpec,
    tasks: TaskSet,
    *,
    held_out: float,
    folder: Path,
    progress: Progress,
) -> TrainingRows:
    """Write all rows to flat files.

    Memory: some 100 bytes per row while positions are assigned, and one chunk of 65,536 rows.

    Args:
        examples: Parquet files or folders of them (see :mod:`models.data.examples`).
        unlabelled: Further examples, whose labels are ignored.
        spec: Feature spec that their features were extracted with.
        tasks: The tasks.
        held_out: Share of the labelled rows, the newest, that is held out.
        folder: Folder of the files.
        progress: Progress display.

    Raises:
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
    """
    # Both passes read the same files, even if some are added to a folder meanwhile.
    files = example_files(examples)
    pool = [] if unlabelled is None else example_files(unlabelled)
    layout = _layout(files, spec, tasks, held_out)
    pooled = sum(len(chunk) for chunk in _stream(pool, spec, tasks))
    rows = _Files.create(folder, len(layout.positions_N) + pooled, spec, tasks)
    bar = progress.add_task("reading rows", total=rows.count)
    digests, start = {}, 0
    for name, paths in (("examples", files), ("unlabelled", pool)):
        digest = xxh3_128()
        for chunk in _stream(paths, spec, tasks):
            for content in _contents(chunk):
                digest.update(np.ascontiguousarray(content).data)
            stop = start + len(chunk)
            if name == "unlabelled":
                unknown_NT = np.full_like(chunk.labels_NT, np.nan)
                rows.put(np.arange(start, stop), replace(chunk, labels_NT=unknown_NT), tasks)
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


def _contents(chunk: Examples) -> list[npt.NDArray[Any]]:
    """Everything of a chunk that the training depends on."""
    found: list[npt.NDArray[Any]] = [chunk.ts_N, chunk.features_NC, chunk.labels_NT]
    found.append(chunk.propensity_N)
    if chunk.weight_N is not None:
        found.append(chunk.weight_N)
    return found


def _stream(paths: Sequence[Path], spec: FeatureSpec, tasks: TaskSet) -> Iterator[Examples]:
    return stream_examples(paths, spec, tasks) if paths else iter(())


def _layout(files: Sequence[Path], spec: FeatureSpec, tasks: TaskSet, held_out: float) -> _Layout:
    seen = [
        (chunk.ts_N, ~np.isnan(chunk.labels_NT).all(axis=1))
        for chunk in stream_examples(files, spec, tasks)
    ]
    if not seen:
        raise ExampleError(f"{files[0]}: it contains no examples")
    ts_N = np.concatenate([ts for ts, _ in seen])
    known_N = np.concatenate([known for _, known in seen])
    order_K = np.flatnonzero(known_N)
    order_K = order_K[np.argsort(ts_N[order_K], kind="stable")]
    newest = round(held_out * len(order_K))
    cut = len(order_K) - newest
    positions_N = np.empty(len(ts_N), np.int64)
    positions_N[order_K[cut:]] = np.arange(newest)
    positions_N[order_K[:cut]] = np.arange(newest, len(order_K))
    positions_N[~known_N] = np.arange(len(order_K), len(ts_N))
    first, last = (int(ts_N[order_K[n]]) for n in (0, cut - 1)) if cut else (0, 0)
    return _Layout(positions_N, newest, cut, first, last)


@dataclass(frozen=True, slots=True)
class _Files:
    """The mapped files while they are written."""

    ids_NC: npt.NDArray[np.int16] | npt.NDArray[np.int32]
    labels_NT: npt.NDArray[np.float32]
    targets_NT: npt.NDArray[np.float32]
    weights_N: npt.NDArray[np.float32]
    propensities_N: npt.NDArray[np.float64]

    @classmethod
    def create(cls, folder: Path, rows: int, spec: FeatureSpec, tasks: TaskSet) -> "_Files":
        small = np.int16 if spec.rows <= _SMALL_IDS else np.int32
        return cls(
            ids_NC=mapped(folder / "ids", small, (rows, spec.columns)),
            labels_NT=mapped(folder / "labels", np.float32, (rows, len(tasks))),
            targets_NT=mapped(folder / "targets", np.float32, (rows, len(tasks))),
            weights_N=mapped(folder / "weights", np.float32, (rows,)),
            propensities_N=mapped(folder / "propensities", np.float64, (rows,)),
        )

    @property
    def count(self) -> int:
        return len(self.ids_NC)

    def put(self, positions_K: Integers, chunk: Examples, tasks: TaskSet) -> None:
        self.ids_NC[positions_K] = chunk.features_NC
        self.labels_NT[positions_K] = chunk.labels_NT
        self.targets_NT[positions_K] = chunk.targets(tasks)
        self.weights_N[positions_K] = chunk.weights
        self.propensities_N[positions_K] = chunk.propensity_N

    def as_range(self) -> RowRange:
        arrays = (self.ids_NC, self.labels_NT, self.targets_NT, self.weights_N)
        return RowRange(*(torch.from_numpy(array) for array in arrays))


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
                f"label_{name}: {positives} positives in {known} rows of its "
                "population; both classes are needed"
            )


def counts(targets_KT: Tensor, chunk: int = 65_536) -> tuple[Tensor, Tensor]:
    """Number of known targets and of positives per task, each int64 (T,)."""
    known_T = torch.zeros(targets_KT.shape[1], dtype=torch.int64)
    positives_T = torch.zeros_like(known_T)
    for targets_BT in torch.split(targets_KT, chunk):
        known_T += (~targets_BT.isnan()).sum(0)
        positives_T += (targets_BT == 1).sum(0)
    return known_T, positives_T
