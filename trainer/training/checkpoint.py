"""Checkpoints: an interrupted training goes on where it was, bit for bit on one device.

A folder holds `job.json`, which says whose it is, and one safetensors file for each fit with
everything that its next step depends on. A file replaces the one before in one rename.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from models.errors import UserError

JOB_FILE: Final = "job.json"
SAVE_EVERY_S: Final = 30.0
State = dict[str, Tensor]
Clock = Callable[[], float]


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be used; the message names the folder and the way out."""


class StateFile:
    """The newest state of one fit.

    Args:
        path: Where it is.
        every_s: Seconds between two saves.
        clock: Seconds, from any start.
        writes: Whether this process writes; of several, the first one does.
    """

    def __init__(
        self,
        path: Path,
        every_s: float = SAVE_EVERY_S,
        clock: Clock = time.monotonic,
        *,
        writes: bool = True,
    ) -> None:
        self.path = path
        self._every_s = every_s
        self._clock = clock
        self._writes = writes
        self._saved_at = clock()

    def load(self) -> State | None:
        """What was saved last; None if nothing was.

        Raises:
            CheckpointError: If the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            return load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: {error}; remove it to begin again") from error

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self._writes and self._clock() - self._saved_at >= self._every_s

    def save(self, state: State) -> None:
        """Replace what was saved; a crash leaves the one or the other."""
        if self._writes:
            write_atomically(self.path, save({key: t.contiguous() for key, t in state.items()}))
            self._saved_at = self._clock()


class Checkpoint:
    """A folder of one job's states.

    Args:
        folder: Made if it is not there.
        job: What the result depends on, as JSON values.
        every_s: Seconds between two saves of a state.
        writes: Whether this process writes.

    Raises:
        CheckpointError: If the folder holds another job's checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        job: Mapping[str, Any],
        every_s: float = SAVE_EVERY_S,
        *,
        writes: bool = True,
    ) -> None:
        self.folder = folder
        self._every_s = every_s
        self._writes = writes
        self._files: list[Path] = [folder / JOB_FILE]
        wanted = json.loads(json.dumps(job))
        if (folder / JOB_FILE).exists():
            _check(folder, wanted)
        elif writes:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / JOB_FILE, json.dumps(wanted, indent=1).encode())

    def file(self, name: str) -> Path:
        """Path of a file that belongs to this checkpoint."""
        self._files.append(self.folder / name)
        return self._files[-1]

    def state(self, name: str) -> StateFile:
        """The state of one fit."""
        return StateFile(self.file(f"{name}.safetensors"), self._every_s, writes=self._writes)

    def remove(self) -> None:
        """Remove its files, and the folder if nothing else is in it: the job is done."""
        if not self._writes:
            return
        for path in reversed(self._files):
            path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves it whole or as it was."""
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries whose names begin with ``prefix.``, without it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)
    }


def named(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries with ``prefix.`` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def _check(folder: Path, wanted: dict[str, Any]) -> None:
    try:
        found = json.loads((folder / JOB_FILE).read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{folder / JOB_FILE}: {error}; remove the folder") from error
    if found == wanted:
        return
    other = [name for name in wanted if found.get(name) != wanted[name]]
    raise CheckpointError(
        f"{folder}: the checkpoint there belongs to another job: it differs in "
        f"{', '.join(other)}; name another folder, or remove this one to begin again"
    )
