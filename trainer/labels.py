"""The teacher labels every row: mean and standard deviation of its probabilities, kept on disk.

Several processes label a share each. A finished file stays with the checkpoint, since labelling
takes as long as a good part of the training.

N rows, K of a piece, T tasks.
"""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from trainer.devices import Devices
from trainer.rows import mapped

PIECE: Final = 8192


class Labeller(Protocol):
    """What labels rows."""

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T)."""


def label(
    teacher: Labeller, ids_NC: Tensor, tasks: int, path: Path, devices: Devices, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Label all rows.

    Args:
        teacher: The same in every process.
        ids_NC: Feature ids of all rows.
        tasks: T.
        path: Where the labels are kept; finished ones that are there are taken as they are.
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
        for start in range(0, rows, PIECE * devices.count):
            own = start + devices.rank * PIECE
            pieces = devices.gather(_piece(teacher, ids_NC[own : own + PIECE], tasks))
            stop = min(start + PIECE * devices.count, rows)
            labels_2NT[:, start:stop] = torch.cat(pieces, dim=1)[:, : stop - start].numpy()
            progress.update(bar, completed=stop)
        labels_2NT.flush()
        unfinished.replace(path)
    mean_NT, std_NT = torch.from_numpy(np.memmap(path, np.float32, "r+", shape=(2, rows, tasks)))
    return mean_NT, std_NT


def _piece(teacher: Labeller, ids_KC: Tensor, tasks: int) -> Tensor:
    """Labels (2, PIECE, T); rows beyond the last one are 0, so that all pieces have one shape."""
    labels = torch.zeros(2, PIECE, tasks)
    if len(ids_KC):
        labels[:, : len(ids_KC)] = torch.stack(teacher.predict(ids_KC))
    return labels
