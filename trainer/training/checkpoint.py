"""Checkpoints: an interrupted training resumes where it stopped, bit for bit on one device.

A folder holds `job.json`, which identifies the training job, and one safetensors file per fit with
everything that its next step depends on. A new file replaces the previous one atomically.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from models.errors import UserError
from models.process.atomic import write_atomically

JOB_FILE: Final = "job.json"
SAVE_EVERY_S: Final = 30.0
State = dict[str, Tensor]
Clock = Callable[[], float]


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be used; the message names the folder and the fix."""


class StateFile:
    """The file that holds the latest saved state of one fit.

    Args:
        path: Path of the file.
        every_s: Seconds between two saves.
        clock: Monotonic time in seconds.
        writes: Whether this process saves; of several processes, only the first one does.
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
        """The last saved state; None if there is none.

        Raises:
            CheckpointError: If the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            return load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: {error}; remove it to start over") from error

    @property
    def due(self) -> bool:
        """Whether a save is due."""
        return self._writes and self._clock() - self._saved_at >= self._every_s

    def save(self, state: State) -> None:
        """Replace the saved state atomically: after a crash, the old or the new one is there."""
        if self._writes:
            write_atomically(self.path, save({key: t.contiguous() for key, t in state.items()}))
            self._saved_at = self._clock()


class Checkpoint:
    """A folder with the saved states of one training job.

    Args:
        folder: Created if it does not exist.
        job: Everything that the result depends on, as JSON values.
        every_s: Seconds between two saves of one state.
        clock: Monotonic time in seconds.
        writes: Whether this process saves; of several processes, only the first one does.

    Raises:
        CheckpointError: If the folder holds another job's checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        job: Mapping[str, Any],
        every_s: float = SAVE_EVERY_S,
        clock: Clock = time.monotonic,
        *,
        writes: bool = True,
    ) -> None:
        self.folder = folder
        self._every_s = every_s
        self._clock = clock
        self._writes = writes
        self._files: list[Path] = [folder / JOB_FILE]
        wanted = json.loads(json.dumps(job))
        if (folder / JOB_FILE).exists():
            _check(folder, wanted)
        elif writes:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / JOB_FILE, json.dumps(wanted, indent=1).encode())

    def file(self, name: str) -> Path:
        """Path of a file that belongs to this checkpoint and is removed with it."""
        self._files.append(self.folder / name)
        return self._files[-1]

    def state(self, name: str) -> StateFile:
        """The state file of the fit called ``name``."""
        path = self.file(f"{name}.safetensors")
        return StateFile(path, self._every_s, self._clock, writes=self._writes)

    def remove(self) -> None:
        """Delete the checkpoint after the job: its files, and the folder if it is then empty."""
        if not self._writes:
            return
        for path in reversed(self._files):
            path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def without_prefix(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries whose names begin with ``prefix.``, with that part removed."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)
    }


def with_prefix(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries with ``prefix.`` added to their names."""
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
        f"{folder}: this checkpoint belongs to another job: it differs in "
        f"{', '.join(other)}; name another folder, or remove this one to start over"
    )
