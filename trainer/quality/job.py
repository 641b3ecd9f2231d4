"""Job and result of the process that measures live quality, exchanged as JSON files."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from models.process.logs import Format
from models.tasks import Task
from trainer.quality.figures import Quality
from trainer.store.schemas import hour_of
from trainer.store.windows import AttributionWindows

HOUR_MS: Final = 3_600_000


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QualityJob(_Message):
    """Job of the process.

    Attributes:
        store: Folder or URL of the example store.
        watermark_ms: Event time up to which it has all outcomes.
        time_scale: Divisor of the attribution windows.
        lateness_s: Lateness of the windows.
        tasks: The tasks.
        artifact: URL of the serving artifact.
        artifact_sha256: Hash of its manifest.
        most: Largest number of requests of one slice of time.
        values: Value of one positive of each task.
        scenarios: Names of the scenarios that get figures of their own.
        log_format: Log format of the process.
    """

    store: str
    watermark_ms: int
    time_scale: float
    lateness_s: float
    tasks: tuple[Task, ...]
    artifact: str
    artifact_sha256: str
    most: int
    values: dict[str, float]
    scenarios: tuple[str, ...] = ()
    log_format: Format = "text"


class QualityResult(_Message):
    """Result of the process.

    Attributes:
        quality: All figures.
        unreadable: Files of the store that could not be read, with the reason.
    """

    quality: Quality
    unreadable: dict[str, str]


def slices(windows: AttributionWindows, watermark_ms: int) -> list[str | None]:
    """The slices of time that are looked at, each by its last hour; None for no limit.

    The newest requests, which show drift, and for each window the newest hour in which all labels
    of its tasks are final: with a window of a week, those of a week ago.
    """
    ended = {
        hour_of(max(0, windows.final_before(task, watermark_ms) - HOUR_MS))
        for task in range(len(windows.names))
    }
    return [None, *sorted(ended, reverse=True)]


def files_of(folder: Path) -> tuple[Path, Path]:
    """The files of job and result in a folder."""
    return folder / "job.json", folder / "result.json"
