"""The teacher labels every row: mean and standard deviation of its probabilities, kept on disk.

M weight samples know the spread only so well: two sets of 20 share as little as a tenth of their
most uncertain tenth. A student that was taught by one set learns that set's luck. So rows in turn
are labelled by different sets, for no more than it takes to draw them: what the student cannot
tell from the features averages out, and it comes nearer to the posterior's own spread than any set
does. Few rows, which the student sees so often that it knows them by heart, are labelled by
several sets each.

Several processes label a share each. The file stays with the checkpoint, since labelling takes as
long as a good part of the training; what is labelled is flushed every half a minute, with a note
of how far it goes, so that an interrupted run goes on from there.

N rows, K of a piece, T tasks.
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from trainer.training.checkpoint import SAVE_EVERY_S, Clock, write_atomically
from trainer.training.devices import Devices
from trainer.training.rows import mapped

Labels = np.memmap[Any, Any]

PIECE: Final = 16_384
"""Rows that one set labels at most; drawing it takes about a tenth of the time of these."""
IN_TURN: Final = 8
"""So many sets take turns, however few rows there are."""


class Labeller(Protocol):
    """What labels rows."""

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T)."""

    def redrawn(self, number: int) -> "Labeller":
        """The same with samples of its own for every number, if it draws any."""


def label(
    teacher: Labeller,
    ids_NC: Tensor,
    tasks: int,
    path: Path,
    *,
    sets: int,
    devices: Devices,
    progress: Progress,
    clock: Clock = time.monotonic,
) -> tuple[Tensor, Tensor]:
    """Label all rows.

    Args:
        teacher: The same in every process.
        ids_NC: Feature ids of all rows.
        tasks: T.
        path: Where the labels are kept; what is labelled there is taken as it is.
        sets: How many sets label each row, which gets the mean of what they say; at most
            ``IN_TURN``.
        devices: Who takes part.
        progress: Where the bar is shown.
        clock: Seconds, from any start.

    Returns:
        ``mean_NT`` and ``std_NT``, float32, mapped from the file.
    """
    rows = len(ids_NC)
    if not path.exists():
        unfinished = _Unfinished.open(path, (2, rows, tasks), clock, resumes=devices.count == 1)
        labels_2NT = unfinished.labels_2NT
        bar = progress.add_task("labels", total=rows)
        pieces, labelled = list(pieces_of(rows)), 0
        for first in range(0, len(pieces), devices.count):
            together = pieces[first : first + devices.count]
            if first >= unfinished.done:
                number = first + devices.rank
                own = pieces[number] if number < len(pieces) else slice(0)
                labellers = (teacher.redrawn(number * sets + which) for which in range(sets))
                found = devices.gather(_piece(labellers, ids_NC[own], tasks))
                for piece, found_2KT in zip(together, found, strict=False):
                    there_2KT = labels_2NT[:, piece]
                    there_2KT[:] = found_2KT[:, : there_2KT.shape[1]].numpy()
                unfinished.note(first + len(together))
            labelled += sum(len(range(rows)[piece]) for piece in together)
            progress.update(bar, completed=labelled)
        unfinished.finish()
    mean_NT, std_NT = torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(2, rows, tasks)))
    return mean_NT, std_NT


class _Unfinished:
    """Labels on their way to ``path``: a file beside it, and a note of how many pieces are in it.

    The labels are flushed before the note is replaced, so that it never says too much.

    Attributes:
        labels_2NT: The mapped file.
        done: Pieces in it when it was opened.
    """

    def __init__(self, path: Path, labels_2NT: Labels, done: int, clock: Clock) -> None:
        self._path = path
        self.labels_2NT = labels_2NT
        self.done = done
        self._clock = clock
        self._noted_s = clock()

    @classmethod
    def open(cls, path: Path, shape: tuple[int, int, int], clock: Clock, *, resumes: bool) -> Self:
        """Go on with the file that is there, or begin a new one.

        Of several processes only one keeps its file with the checkpoint, and all must begin at
        the same piece: they do not resume in the middle.
        """
        file, note = unfinished_files(path)
        same = note.exists() and file.exists() and file.stat().st_size == 4 * math.prod(shape)
        if resumes and same:
            labels_2NT = np.memmap(file, np.float32, "r+", shape=shape)
            return cls(path, labels_2NT, int(note.read_bytes()), clock)
        return cls(path, mapped(file, np.float32, shape), 0, clock)

    def note(self, done: int) -> None:
        """Keep what is labelled, if it is time to."""
        if self._clock() - self._noted_s >= SAVE_EVERY_S:
            self.labels_2NT.flush()
            write_atomically(unfinished_files(self._path)[1], str(done).encode())
            self._noted_s = self._clock()

    def finish(self) -> None:
        """All pieces are labelled."""
        file, note = unfinished_files(self._path)
        self.labels_2NT.flush()
        file.replace(self._path)
        note.unlink(missing_ok=True)


def unfinished_files(path: Path) -> tuple[Path, Path]:
    """Where labels are kept until all are there, and the note of how many pieces are."""
    return path.with_name(f"{path.name}.tmp"), path.with_name(f"{path.name}.done")


def pieces_of(rows: int) -> Iterator[slice]:
    """All rows, in pieces; neighbours lie in different ones, so that none has an hour to itself."""
    for start in range(0, rows, IN_TURN * PIECE):
        stop = min(start + IN_TURN * PIECE, rows)
        yield from (slice(start + turn, stop, IN_TURN) for turn in range(IN_TURN))


def _piece(labellers: Iterable[Labeller], ids_KC: Tensor, tasks: int) -> Tensor:
    """Labels (2, PIECE, T); rows beyond the last one are 0, so that all pieces have one shape."""
    labels = torch.zeros(2, PIECE, tasks)
    if len(ids_KC):
        said = [torch.stack(labeller.predict(ids_KC)) for labeller in labellers]
        labels[:, : len(ids_KC)] = torch.stack(said).mean(0)
    return labels
