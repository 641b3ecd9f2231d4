"""The folders of rebuilds: what is kept of each, and what is needed to go on with one.

A rebuild has two folders of the same name, the time of its start. The kept one has its job, log and
result, and its candidate if that was refused; the last ten are kept. The scratch folder has the
snapshot of the examples, the checkpoint of the training and temporary files; it is there exactly
until the rebuild has ended, announcement included. So a scratch folder at the start of the trainer
is a rebuild that was interrupted.
"""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from models.process.atomic import write_atomically
from trainer.gates.report import Verdict
from trainer.pipeline.rebuild_job import KEPT_TEACHER, RebuildJob, RebuildResult

KEPT: Final = 10
"""Number of rebuild folders that are kept, with log and refused candidate."""
SCRATCH: Final = "rebuild-"
"""Prefix of the rebuilds' scratch folders."""
ENDED: Final = ".ended"
"""Suffix of scratch folders that are being removed."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one rebuild.

    Attributes:
        folder: The kept folder.
        scratch: The scratch folder.
    """

    folder: Path
    scratch: Path

    @property
    def candidate(self) -> Path:
        """Folder of the candidate."""
        return self.folder / "candidate"

    @property
    def work(self) -> Path:
        """Snapshot and checkpoint, which an interrupted rebuild goes on from."""
        return self.scratch / "work"

    @property
    def teacher(self) -> Path:
        """The weights of the candidate's teacher."""
        return self.work / KEPT_TEACHER

    @property
    def log(self) -> Path:
        """Output of the process."""
        return self.folder / "log.txt"

    @property
    def job_file(self) -> Path:
        """The job of the process."""
        return self.folder / "job.json"

    @property
    def result_file(self) -> Path:
        """The result of the process, once it has one."""
        return self.folder / "result.json"

    @property
    def attempts_file(self) -> Path:
        """A line for each start of the process."""
        return self.folder / "attempts.txt"

    def job(self) -> RebuildJob:
        """The job.

        Raises:
            ValueError: If the file is not a job of this version.
            OSError: If it cannot be read.
        """
        return RebuildJob.model_validate_json(self.job_file.read_bytes())

    def write_job(self, job: RebuildJob) -> None:
        """Write or replace the job."""
        write_atomically(self.job_file, job.model_dump_json().encode())

    def result(self) -> RebuildResult | None:
        """The result, None while there is none."""
        if not self.result_file.exists():
            return None
        return RebuildResult.model_validate_json(self.result_file.read_bytes())

    @property
    def failed_file(self) -> Path:
        """Why the rebuild failed, if it has."""
        return self.folder / "failed.txt"

    def count_attempt(self) -> int:
        """Record that the process is started, and return how many times it was."""
        with self.attempts_file.open("a") as file:
            file.write("started\n")
        return len(self.attempts_file.read_text().splitlines())

    def fresh_temporary(self) -> Path:
        """An empty folder for temporary files (``TMPDIR``)."""
        temporary = self.scratch / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary.resolve()

    def begin_again(self, job: RebuildJob) -> None:
        """Start over with another job for the same candidate: a retest."""
        self.write_job(job)
        self.scratch.mkdir(parents=True, exist_ok=True)
        for file in (self.result_file, self.attempts_file, self.failed_file):
            file.unlink(missing_ok=True)

    def fail(self, error: Exception) -> None:
        """End a rebuild that failed; a trainer that starts anew finds it failed, too."""
        try:
            self.failed_file.write_text(f"{type(error).__name__}: {error}\n")
        finally:
            self.end()

    def end(self) -> None:
        """Remove the scratch folder: the rebuild has ended."""
        if self.scratch.exists():
            ended = self.scratch.with_name(f"{self.scratch.name}{ENDED}")
            self.scratch.rename(ended)  # at once: half a folder is not gone on with
            shutil.rmtree(ended, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class LastRebuild:
    """The last rebuild that began.

    Attributes:
        job: Its job.
        failed: Whether it failed; a retest is not repeated, so one that failed does not count.
    """

    job: RebuildJob
    failed: bool


class Workspaces:
    """The workspaces of one trainer.

    Args:
        folders: Folder of the kept folders.
        scratch: Folder of the scratch folders, on a disk.
    """

    def __init__(self, folders: Path, scratch: Path) -> None:
        self._folders = folders
        self._scratch = scratch

    def create(self, began: datetime) -> Workspace:
        """New folders for a rebuild; the oldest kept ones are removed."""
        for folder in sorted(self._folders.glob("*"))[: -(KEPT - 1)]:
            shutil.rmtree(folder, ignore_errors=True)
        stamp = began.strftime("%Y%m%dT%H%M%S%f")
        made = Workspace(self._folders / stamp, self._scratch / f"{SCRATCH}{stamp}")
        made.folder.mkdir(parents=True)
        made.scratch.mkdir(parents=True)
        return made

    def newest_first(self) -> list[Workspace]:
        """All kept rebuilds."""
        folders = sorted(self._folders.glob("*"), reverse=True)
        return [Workspace(folder, self._scratch / f"{SCRATCH}{folder.name}") for folder in folders]

    def last(self) -> LastRebuild | None:
        """The newest rebuild whose job can be read."""
        for workspace in self.newest_first():
            try:
                job = workspace.job()
                failed = workspace.failed_file.exists() and job.retest_ms is None
                return LastRebuild(job, failed)
            except (OSError, ValueError):  # of another version of Weir, or damaged
                continue
        return None

    def refused_in_row(self) -> int:
        """Number of candidates that were refused since the last one passed, of those kept.

        One that was held, for lack of evidence, is neither.
        """
        refused = 0
        for workspace in self.newest_first():
            try:
                result = workspace.result()
            except (OSError, ValueError):  # of another version of Weir, or damaged
                continue
            if result is not None and result.url is not None:
                break
            refused += result is not None and result.gates.verdict is Verdict.FAIL
        return refused

    def interrupted(self) -> Workspace | None:
        """The newest rebuild that was interrupted; scratch folders of others are removed."""
        newest: Workspace | None = None
        for scratch in sorted(self._scratch.glob(f"{SCRATCH}*"), reverse=True):
            folder = self._folders / scratch.name.removeprefix(SCRATCH)
            found = Workspace(folder, scratch)
            if newest is None and not scratch.name.endswith(ENDED) and found.job_file.exists():
                newest = found
            else:
                shutil.rmtree(scratch, ignore_errors=True)
        return newest
