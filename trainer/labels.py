"""The teacher labels every row: mean and standard deviation of its probabilities, kept on disk.

M weight samples know the spread only so well: two sets of 20 share as little as a tenth of their
most uncertain tenth. A student that was taught by one set learns that set's luck. So rows in turn
are labelled by different sets, for no more than it takes to draw them: what the student cannot
tell from the features averages out, and it comes nearer to the posterior's own spread than any set
does. Few rows, which the student sees so often that it knows them by heart, are labelled by
several sets each.

Several processes label a share each. A finished file stays with the checkpoint, since labelling
takes as long as a good part of the training.

N rows, K of a piece, T tasks.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from trainer.devices import Devices
from trainer.rows import mapped

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
) -> tuple[Tensor, Tensor]:
    """Label all rows.

    Args:
        teacher: The same in every process.
        ids_NC: Feature ids of all rows.
        tasks: T.
        path: Where the labels are kept; finished ones that are there are taken as they are.
        sets: How many sets label each row, which gets the mean of what they say; at most
            ``IN_TURN``.
        devices: Who takes part.
        progress: Where the bar is shown.

    Returns:
        ``mean_NT`` and ``std_NT``, float32, mapped from the file.
    """
    rows = len(ids_NC)
    if not path.exists():
        unfinished = path.with_name(f"{path.name}.tmp")
        labels_2NT = mapped(unfinished, np.float32, (2, rows, tasks))
        bar = progress.add_task("labels", total=rows)
        pieces, labelled = list(pieces_of(rows)), 0
        for first in range(0, len(pieces), devices.count):
            number = first + devices.rank
            own = pieces[number] if number < len(pieces) else slice(0)
            labellers = (teacher.redrawn(number * sets + which) for which in range(sets))
            found = devices.gather(_piece(labellers, ids_NC[own], tasks))
            for piece, found_2KT in zip(pieces[first:], found, strict=False):
                there_2KT = labels_2NT[:, piece]
                there_2KT[:] = found_2KT[:, : there_2KT.shape[1]].numpy()
                labelled += there_2KT.shape[1]
            progress.update(bar, completed=labelled)
        labels_2NT.flush()
        unfinished.replace(path)
    mean_NT, std_NT = torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(2, rows, tasks)))
    return mean_NT, std_NT


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
