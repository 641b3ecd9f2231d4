"""The ledger of all candidates that were tried against one serving model.

One JSON file per serving model, ``trials/MANIFEST_SHA256.json`` below the registry, next to the
versions. A trial is written before its labels are looked at: neither a restart nor a rebuild that
is killed in between gives another look for free. Another serving model has a file of its own; if an
earlier one serves again, its file goes on.

A damaged ledger is an error, never an empty one. There is one writer, the trainer that holds the
store's lease.
"""

import re
from typing import Any, Final

import fsspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.artifact.manifest import SHA256_PATTERN
from models.errors import UserError
from models.validation import first_fault
from trainer.gates.spending import spent_by

FOLDER: Final = "trials"
MAX_BYTES: Final = 64 << 20
"""Of one file; a trial has some 300 bytes."""


class LedgerError(UserError, RuntimeError):
    """A ledger that cannot be read or does not belong here; the message names file and fix."""


class Trial(BaseModel):
    """One candidate's trial.

    Attributes:
        candidate: Hash of the candidate's student.
        rows: Hash of the held-out rows.
        alpha_k: Its level.
        starved: Gates that lacked data; empty until the trial is over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    candidate: str
    rows: str
    alpha_k: float = Field(gt=0, lt=1)
    starved: tuple[str, ...] = ()


class _Trials(BaseModel):
    model_config = ConfigDict(extra="forbid")

    serving: str
    trials: list[Trial]


class Ledger:
    """The trials against one serving model.

    Args:
        registry: Folder or fsspec URL of the registry.
        serving_sha256: Hash of the serving model's manifest.

    Raises:
        LedgerError: If the file is damaged, or belongs to another model.
    """

    def __init__(self, registry: str, serving_sha256: str) -> None:
        if not re.match(SHA256_PATTERN, serving_sha256):
            raise LedgerError(f"{serving_sha256[:80]!r} is not the sha256 of a manifest, in hex")
        self._url = f"{registry.rstrip('/')}/{FOLDER}/{serving_sha256}.json"
        self._fs, self._path = fsspec.core.url_to_fs(self._url)
        self._trials = self._read(serving_sha256)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, oldest first."""
        return tuple(self._trials.trials)

    def open(self, candidate: str, rows: str, alpha: float) -> tuple[int, Trial]:
        """Start a trial, and write it down; return its number k, from 1, and the trial.

        The same student on the same rows, as after a rebuild that was killed, is the same trial.

        Args:
            candidate: Hash of the candidate's student.
            rows: Hash of the held-out rows.
            alpha: Error over all trials.
        """
        for k, trial in enumerate(self._trials.trials, 1):
            if (trial.candidate, trial.rows) == (candidate, rows):
                return k, trial
        k = len(self._trials.trials) + 1
        # a limit that was lowered since then must not be exceeded by what was spent before
        left = alpha - sum(trial.alpha_k for trial in self._trials.trials)
        if left <= 0:
            raise LedgerError(
                f"{self._url}: {k - 1} trials have spent the error alpha = {alpha:g}, which was "
                "lowered since; raise it again, or wait until another model serves"
            )
        trial = Trial(candidate=candidate, rows=rows, alpha_k=min(spent_by(k, alpha), left))
        self._trials.trials.append(trial)
        self._write()
        return k, trial

    def close(self, k: int, starved: list[str]) -> None:
        """Note which gates lacked data in trial k."""
        self._trials.trials[k - 1] = self._trials.trials[k - 1].model_copy(
            update={"starved": tuple(starved)}
        )
        self._write()

    def starved(self, gate: str, before: int) -> int:
        """In how many trials before trial ``before`` a gate lacked data."""
        return sum(gate in trial.starved for trial in self._trials.trials[: before - 1])

    def _read(self, serving_sha256: str) -> _Trials:
        if not self._fs.exists(self._path):
            return _Trials(serving=serving_sha256, trials=[])
        try:
            with self._fs.open(self._path, "rb") as file:
                content: Any = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise LedgerError(f"{self._url}: longer than {MAX_BYTES} bytes")
            trials = _Trials.model_validate_json(content)
        except ValidationError as error:
            raise LedgerError(
                f"{self._url}: {first_fault(error)}; restore the file from a backup, or remove "
                "it to count the candidates from 1 again"
            ) from error
        if trials.serving != serving_sha256:
            raise LedgerError(
                f"{self._url}: written for {trials.serving[:80]!r}; it was copied or renamed"
            )
        return trials

    def _write(self) -> None:
        self._fs.makedirs(self._path.rsplit("/", 1)[0], exist_ok=True)
        self._fs.pipe_file(f"{self._path}.part", self._trials.model_dump_json(indent=1).encode())
        self._fs.mv(f"{self._path}.part", self._path)
