"""Job and result of a rebuild process, exchanged as JSON files."""

from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from models.process.logs import Format
from models.settings import ModelSettings, ScenarioSettings
from models.settings.gates import GateLimits
from models.tasks import Task
from trainer.gates.report import GateReport
from trainer.store.snapshot import Snapshot
from trainer.training.config import TrainConfig


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RebuildJob(_Message):
    """Job of a rebuild process.

    Attributes:
        store: Folder or URL of the example store.
        watermark_ms: Event time up to which it has all outcomes; None before the first request.
        time_scale: Divisor of the attribution windows.
        lateness_s: Lateness of the windows.
        most: Largest number of requests to learn from; the newest are used.
        serving: URL of the serving artifact; the candidate keeps its feature spec.
        serving_sha256: Hash of its manifest.
        tasks: The tasks.
        folder: Folder of the candidate, which is kept if the candidate is refused.
        work: Folder of the snapshot and the checkpoint, from which an interrupted rebuild goes on.
        registry: Registry that the candidate is published to, and the key that signs it.
        config: Configuration of the training.
        seed: Seed of everything random.
        created: Creation time in the manifest, ISO 8601.
        start: File of the last teacher's weights to start from; None to start from scratch.
        reason: Why the rebuild started, as a sentence.
        retest_ms: Set if the job is to try the candidate in ``folder`` again, on requests after
            those that it learned from: event time up to which the store has all outcomes now.
        limits: Limits of the gates.
        policy: Rate and reward of the workers, at which the captured value is compared.
        log_format: Log format of the process.
    """

    store: str
    watermark_ms: int | None
    time_scale: float
    lateness_s: float
    most: int
    serving: str
    serving_sha256: str
    tasks: tuple[Task, ...]
    folder: Path
    work: Path
    registry: ModelSettings
    config: TrainConfig
    seed: int
    created: datetime
    start: Path | None = None
    reason: str = ""
    retest_ms: int | None = None
    limits: GateLimits = GateLimits()
    policy: ScenarioSettings = ScenarioSettings()
    log_format: Format = "text"

    @property
    def seen_file(self) -> Path:
        """Which feature values the candidate's training had, beside its folder, for a retest."""
        return self.folder.with_name("seen.npy")


KEPT_TEACHER: Final = "teacher.safetensors"
"""File of a candidate's teacher in the job's folder ``work``."""


class RebuildResult(_Message):
    """Result of a rebuild process.

    Attributes:
        version: Version of the candidate.
        url: URL of the published candidate, None if it was refused.
        manifest_sha256: Hash of the published manifest, "" if it was refused.
        gates: Verdict of the gates, with figures.
        auc: Held-out AUC-ROC of the candidate per task, for logs and announcements.
        snapshot: Summary of the examples that were learned from.
    """

    version: str
    url: str | None
    manifest_sha256: str
    gates: GateReport
    auc: dict[str, float | None]
    snapshot: Snapshot
