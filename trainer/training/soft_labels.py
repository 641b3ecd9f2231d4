"""Soft labels: mean and standard deviation of the teacher's probabilities for every row, on disk.

M weight samples estimate the spread poorly: two sets of 20 share as little as a tenth of their most
uncertain tenth, and a student taught by one set learns the sampling noise of that set. So
neighbouring rows are labelled by different sets, at the cost of drawing them only: noise that the
student cannot infer from the features averages out, and the student comes nearer to the posterior's
spread than any single set does. Few rows, which the student sees often enough to memorise them, are
labelled by several sets each.

Several processes label a share each. Labelling takes a good part of the training time, so the file
belongs to the checkpoint: finished chunks are flushed every half a minute together with their
number, and an interrupted run resumes after them.

N rows, K rows of a chunk, T tasks.
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from models.process.atomic import write_atomically
from trainer.training.checkpoint import SAVE_EVERY_S, Clock
from trainer.training.context import FitContext
from trainer.training.rows import mapped

Labels = np.memmap[Any, Any]

CHUNK: Final = 16_384
"""Most rows that one set labels; drawing the set takes about a tenth of the time of labelling."""
INTERLEAVED: Final = 8
"""Number of sets that label neighbouring rows in turn, however few rows there are."""


class Labeller(Protocol):
    """Labels rows."""

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T)."""

    def redrawn(self, number: int) -> "Labeller":
        """The same labeller with weight sets of its own for every number, if it draws any."""


def label_rows(
    labeller: Labeller,
    ids_NC: Tensor,
    tasks: int,
    path: Path,
    *,
    sets: int,
    context: FitContext,
    clock: Clock = time.monotonic,
) -> tuple[Tensor, Tensor]:
    """Label all rows.

    Args:
        labeller: The same in every process.
        ids_NC: Feature ids of all rows.
        tasks: Number of tasks, T.
        path: File of the labels; if it exists, its labels are returned as they are.
        sets: Number of weight sets per row, at most ``INTERLEAVED``; a row gets the mean of their
            labels.
        context: Devices and progress bars.
        clock: Monotonic time in seconds.

    Returns:
        ``mean_NT`` and ``std_NT``, float32, mapped from the file.
    """
    rows, devices = len(ids_NC), context.devices
    if not path.exists():
        unfinished = _Unfinished.open(path, (2, rows, tasks), clock, resumes=devices.count == 1)
        labels_2NT = unfinished.labels_2NT
        bar = context.progress.add_task("labels", total=rows)
        chunks, labelled = list(chunks_of(rows)), 0
        for first in range(0, len(chunks), devices.count):
            together = chunks[first : first + devices.count]
            if first >= unfinished.done:
                number = first + devices.rank
                own = chunks[number] if number < len(chunks) else slice(0)
                redrawn = (labeller.redrawn(number * sets + which) for which in range(sets))
                found = devices.gather(_label_chunk(redrawn, ids_NC[own], tasks))
                for chunk, found_2KT in zip(together, found, strict=False):
                    labels_2KT = labels_2NT[:, chunk]
                    labels_2KT[:] = found_2KT[:, : labels_2KT.shape[1]].numpy()
                unfinished.save_position(first + len(together))
            labelled += sum(len(range(rows)[chunk]) for chunk in together)
            context.progress.update(bar, completed=labelled)
        unfinished.finish()
    mean_NT, std_NT = torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(2, rows, tasks)))
    return mean_NT, std_NT


class _Unfinished:
    """Labels that are not complete yet: a file beside ``path``, and the number of chunks in it.

    The labels are flushed before the number is replaced, so it never counts a chunk that is lost.

    Attributes:
        labels_2NT: The mapped file.
        done: Number of finished chunks when the file was opened.
    """

    def __init__(self, path: Path, labels_2NT: Labels, done: int, clock: Clock) -> None:
        self._path = path
        self.labels_2NT = labels_2NT
        self.done = done
        self._clock = clock
        self._saved_at = clock()

    @classmethod
    def open(cls, path: Path, shape: tuple[int, int, int], clock: Clock, *, resumes: bool) -> Self:
        """Continue the file that is there, or start a new one.

        Of several processes only one keeps its file with the checkpoint, and all must start at the
        same chunk: they do not resume in the middle.
        """
        file, position = unfinished_files(path)
        same = position.exists() and file.exists() and file.stat().st_size == 4 * math.prod(shape)
        if resumes and same:
            labels_2NT = np.memmap(file, np.float32, "r+", shape=shape)
            return cls(path, labels_2NT, int(position.read_bytes()), clock)
        return cls(path, mapped(file, np.float32, shape), 0, clock)

    def save_position(self, done: int) -> None:
        """Save the labels and the number of finished chunks, if a save is due."""
        if self._clock() - self._saved_at >= SAVE_EVERY_S:
            self.labels_2NT.flush()
            write_atomically(unfinished_files(self._path)[1], str(done).encode())
            self._saved_at = self._clock()

    def finish(self) -> None:
        """Move the complete file into its place."""
        file, position = unfinished_files(self._path)
        self.labels_2NT.flush()
        file.replace(self._path)
        position.unlink(missing_ok=True)


def unfinished_files(path: Path) -> tuple[Path, Path]:
    """Paths of the incomplete labels, and of the number of finished chunks in them."""
    return path.with_name(f"{path.name}.tmp"), path.with_name(f"{path.name}.done")


def chunks_of(rows: int) -> Iterator[slice]:
    """All rows in chunks; neighbours lie in different ones, so that none covers an hour alone."""
    for start in range(0, rows, INTERLEAVED * CHUNK):
        stop = min(start + INTERLEAVED * CHUNK, rows)
        yield from (slice(start + turn, stop, INTERLEAVED) for turn in range(INTERLEAVED))


def _label_chunk(labellers: Iterable[Labeller], ids_KC: Tensor, tasks: int) -> Tensor:
    """Labels (2, CHUNK, T), padded with zeros so that all chunks have one shape."""
    labels = torch.zeros(2, CHUNK, tasks)
    if len(ids_KC):
        moments = [torch.stack(labeller.predict(ids_KC)) for labeller in labellers]
        labels[:, : len(ids_KC)] = torch.stack(moments).mean(0)
    return labels
