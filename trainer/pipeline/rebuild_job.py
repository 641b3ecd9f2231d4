"""What the trainer asks of a rebuild's process, and what that answers; both are JSON files."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.process.logs import Format
from models.tasks import Task
from trainer.evaluation.gates import GateLimits, GateResult
from trainer.pipeline.snapshot import Snapshot
from trainer.training.config import TrainConfig


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RebuildJob(_Message):
    """What to do.

    Attributes:
        parts: Files of the example store, oldest first.
        most: Requests that are learned from at most, the newest.
        serving: URL of the artifact that serves; the candidate keeps its feature spec.
        serving_sha256: Hash of its manifest.
        tasks: What is learned.
        folder: Where the candidate is built, and stays if it is refused.
        registry: Where it is published.
        config: How it is trained.
        seed: Seed of everything random.
        created: Time that the manifest states, ISO 8601.
        limits: The gates' limits.
        log_format: How it logs.
    """

    parts: tuple[Path, ...]
    most: int
    serving: str
    serving_sha256: str
    tasks: tuple[Task, ...]
    folder: Path
    registry: str
    config: TrainConfig
    seed: int
    created: datetime
    limits: GateLimits = GateLimits()
    log_format: Format = "text"


class RebuildResult(_Message):
    """What came of it.

    Attributes:
        version: Version of the candidate.
        url: Where it was published, None when it was refused.
        manifest_sha256: Hash of the published manifest, "" when it was refused.
        verdicts: What the gates found.
        auc: Held-out AUC-ROC of the candidate per task, for people.
        snapshot: What was learned from.
    """

    version: str
    url: str | None
    manifest_sha256: str
    verdicts: list[GateResult]
    auc: dict[str, float | None]
    snapshot: Snapshot

    @property
    def refusals(self) -> list[str]:
        """Failed gates in words."""
        failed = [gate for gate in self.verdicts if not gate.passed]
        return [f"{gate.gate} {gate.task or ''}: {gate.reason}" for gate in failed]
