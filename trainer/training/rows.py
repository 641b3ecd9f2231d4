"""The rows of one training on disk: flat files that are mapped, so that memory holds none of them.

The Parquet files are read twice, piece by piece. The first pass sees times and labels and gives
every row its place; the second one puts it there:

    held out, the newest labelled rows | labelled | unlabelled

each labelled part in order of time (ties as stored), the unlabelled as stored. A row of 121 ids
takes 242 bytes on disk and none in memory, where the kernel keeps as much as there is room for.

N rows in all, K of a part, C columns of ids, T tasks.
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
class Part:
    """Consecutive rows, mapped from the disk.

    Attributes:
        ids_KC: Feature ids, int16 where the spec's rows fit, else int32.
        labels_KT: Whether the events happened, float32; NaN where masked.
        targets_KT: Labels with every row outside a task's population masked as well.
        weights_K: For how many requests each row stands, float32.
    """

    ids_KC: Tensor
    labels_KT: Tensor
    targets_KT: Tensor
    weights_K: Tensor

    def __len__(self) -> int:
        return len(self.ids_KC)

    def slice(self, start: int, stop: int) -> "Part":
        """Rows ``start`` to ``stop - 1``."""
        span = slice(start, stop)
        return Part(
            self.ids_KC[span], self.labels_KT[span], self.targets_KT[span], self.weights_K[span]
        )

    @property
    def uneven_weights(self) -> Tensor | None:
        """The weights, or None where all rows weigh the same."""
        even = len(self) == 0 or bool(self.weights_K.min() == self.weights_K.max())
        return None if even else self.weights_K


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """All rows of one training.

    Attributes:
        everything: Held-out, labelled and unlabelled rows, in this order.
        held_out: How many are held out.
        labelled: How many others have at least one label.
        ts_min: Time of the first labelled row that is not held out, ms.
        ts_max: Time of the last one.
        digests: What the examples and the unlabelled rows hold, as hashes.
    """

    everything: Part
    held_out: int
    labelled: int
    ts_min: int
    ts_max: int
    digests: dict[str, str]

    @property
    def newest(self) -> Part:
        """The held-out rows."""
        return self.everything.slice(0, self.held_out)

    @property
    def teaching(self) -> Part:
        """The labelled rows that are not held out: what the teacher sees."""
        return self.everything.slice(self.held_out, self.held_out + self.labelled)

    @property
    def unlabelled(self) -> int:
        """How many rows have no label."""
        return len(self.everything) - self.held_out - self.labelled


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where every row goes: ``places_N`` in stored order."""

    places_N: Integers
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
    """Put all rows into flat files.

    Memory: some 100 bytes per row while the places are found, and one piece of 65,536 rows.

    Args:
        examples: Parquet files or folders of them (see :mod:`models.data.examples`).
        unlabelled: Further examples, whose labels are not looked at.
        spec: Feature spec that made their features.
        tasks: What is learned.
        held_out: Share of the labelled rows, the newest, kept apart.
        folder: Where the files are made.
        progress: Where the bar is shown.

    Raises:
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
    """
    # The same files in both passes, whatever is added to a folder meanwhile.
    files = example_files(examples)
    pool = [] if unlabelled is None else example_files(unlabelled)
    plan = _plan(files, spec, tasks, held_out)
    spare = sum(len(piece.ts_N) for piece in _stream(pool, spec, tasks))
    rows = _Files.make(folder, len(plan.places_N) + spare, spec, tasks)
    bar = progress.add_task("reading rows", total=rows.count)
    digests, start = {}, 0
    for name, paths in (("examples", files), ("unlabelled", pool)):
        digest = xxh3_128()
        for piece in _stream(paths, spec, tasks):
            for content in (piece.ts_N, piece.features_NC, piece.labels_NT, piece.weight_N):
                if content is not None:
                    digest.update(np.ascontiguousarray(content).data)
            stop = start + len(piece)
            if name == "unlabelled":
                unknown_NT = np.full_like(piece.labels_NT, np.nan)
                rows.put(np.arange(start, stop), replace(piece, labels_NT=unknown_NT), tasks)
            else:
                rows.put(plan.places_N[start:stop], piece, tasks)
            progress.advance(bar, len(piece))
            start = stop
        digests[name] = digest.hexdigest()
    made = TrainingRows(
        rows.part(), plan.held_out, plan.labelled, plan.ts_min, plan.ts_max, digests
    )
    _check_learnable(made.teaching.targets_KT, tasks)
    return made


def _stream(paths: Sequence[Path], spec: FeatureSpec, tasks: TaskSet) -> Iterator[Examples]:
    return stream_examples(paths, spec, tasks) if paths else iter(())


def _plan(files: Sequence[Path], spec: FeatureSpec, tasks: TaskSet, held_out: float) -> _Plan:
    seen = [
        (piece.ts_N, ~np.isnan(piece.labels_NT).all(axis=1))
        for piece in stream_examples(files, spec, tasks)
    ]
    if not seen:
        raise ExampleError(f"{files[0]}: there are no examples in it")
    ts_N = np.concatenate([ts for ts, _ in seen])
    known_N = np.concatenate([known for _, known in seen])
    order_K = np.flatnonzero(known_N)
    order_K = order_K[np.argsort(ts_N[order_K], kind="stable")]
    newest = round(held_out * len(order_K))
    cut = len(order_K) - newest
    places_N = np.empty(len(ts_N), np.int64)
    places_N[order_K[cut:]] = np.arange(newest)
    places_N[order_K[:cut]] = np.arange(newest, len(order_K))
    places_N[~known_N] = np.arange(len(order_K), len(ts_N))
    first, last = (int(ts_N[order_K[n]]) for n in (0, cut - 1)) if cut else (0, 0)
    return _Plan(places_N, newest, cut, first, last)


@dataclass(frozen=True, slots=True)
class _Files:
    """The mapped files while they are filled."""

    ids_NC: npt.NDArray[np.int16] | npt.NDArray[np.int32]
    labels_NT: npt.NDArray[np.float32]
    targets_NT: npt.NDArray[np.float32]
    weights_N: npt.NDArray[np.float32]

    @classmethod
    def make(cls, folder: Path, rows: int, spec: FeatureSpec, tasks: TaskSet) -> "_Files":
        small = np.int16 if spec.rows <= _SMALL_IDS else np.int32
        return cls(
            ids_NC=mapped(folder / "ids", small, (rows, spec.columns)),
            labels_NT=mapped(folder / "labels", np.float32, (rows, len(tasks))),
            targets_NT=mapped(folder / "targets", np.float32, (rows, len(tasks))),
            weights_N=mapped(folder / "weights", np.float32, (rows,)),
        )

    @property
    def count(self) -> int:
        return len(self.ids_NC)

    def put(self, places_K: Integers, piece: Examples, tasks: TaskSet) -> None:
        self.ids_NC[places_K] = piece.features_NC
        self.labels_NT[places_K] = piece.labels_NT
        self.targets_NT[places_K] = piece.targets(tasks)
        self.weights_N[places_K] = piece.weights

    def part(self) -> Part:
        arrays = (self.ids_NC, self.labels_NT, self.targets_NT, self.weights_N)
        return Part(*(torch.from_numpy(array) for array in arrays))


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new array of zeros in a file that is mapped into memory.

    Raises:
        OSError: If the disk has no room for all of it; a write to a mapping could not say so.
    """
    size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, dtype, "r+", shape=shape)


def _check_learnable(targets_KT: Tensor, tasks: TaskSet) -> None:
    """Every task needs both classes among its population.

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


def counts(targets_KT: Tensor, piece: int = 65_536) -> tuple[Tensor, Tensor]:
    """How many targets of each task are known, and how many of them are positive; int64 (T,)."""
    known_T = torch.zeros(targets_KT.shape[1], dtype=torch.int64)
    positives_T = torch.zeros_like(known_T)
    for targets_BT in torch.split(targets_KT, piece):
        known_T += (~targets_BT.isnan()).sum(0)
        positives_T += (targets_BT == 1).sum(0)
    return known_T, positives_T
