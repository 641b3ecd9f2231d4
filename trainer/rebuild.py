"""One rebuild: train a candidate, judge it against what serves, publish it if it passes.

It runs as a process of its own (``python -m trainer.rebuild JOB RESULT``), so that neither its
memory nor its crash is the daemon's; job and result are JSON files.
"""

import logging
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.progress import Progress

from models import logs
from models.artifact import Artifact, load_artifact
from models.registry import Registry
from models.tasks import Task, TaskSet
from trainer.config import TrainConfig
from trainer.evaluate import evaluate_artifact
from trainer.gates import GateLimits, verdict
from trainer.rows import lay_out
from trainer.train import train

logger = logging.getLogger(__name__)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RebuildJob(_Message):
    """What to do.

    Attributes:
        examples: Parquet file of the examples, each request once.
        serving: URL of the artifact that serves; the candidate keeps its feature spec.
        tasks: What is learned.
        folder: Where the candidate is built, and stays if it is refused.
        registry: Where it is published.
        config: How it is trained.
        seed: Seed of everything random.
        created: Time that the manifest states, ISO 8601.
        limits: The gates' limits.
        log_format: How it logs.
    """

    examples: Path
    serving: str
    tasks: tuple[Task, ...]
    folder: Path
    registry: str
    config: TrainConfig
    seed: int
    created: datetime
    limits: GateLimits = GateLimits()
    log_format: logs.Format = "text"


class RebuildResult(_Message):
    """What came of it.

    Attributes:
        version: Version of the candidate.
        url: Where it was published, None when it was refused.
        manifest_sha256: Hash of the published manifest, "" when it was refused.
        refusals: Failed gates in words.
        auc: Held-out AUC-ROC of the candidate per task, for people.
    """

    version: str
    url: str | None
    manifest_sha256: str
    refusals: list[str]
    auc: dict[str, float | None]


def rebuild(job: RebuildJob) -> RebuildResult:
    """Train, judge, publish.

    Raises:
        ArtifactError: If what serves cannot be loaded.
        ExampleError: If the examples cannot be learned from.
        RegistryError: If the candidate cannot be published.
    """
    serving = load_artifact(job.serving)
    tasks = TaskSet(job.tasks)
    train(
        job.examples,
        serving.spec,
        job.folder,
        job.config,
        job.seed,
        created=job.created,
        tasks=tasks,
    )
    return judge(job, serving, load_artifact(job.folder), job.config.held_out)


def judge(
    job: RebuildJob, serving: Artifact, candidate: Artifact, held_out: float
) -> RebuildResult:
    """Compare both on the newest rows, which the candidate has not learned; publish or refuse."""
    tasks = TaskSet(job.tasks)
    with tempfile.TemporaryDirectory() as folder, Progress(disable=True) as bars:
        rows = lay_out(
            job.examples,
            None,
            serving.spec,
            tasks,
            held_out=held_out,
            folder=Path(folder),
            progress=bars,
        )
        newest = (rows.newest.ids_KC.numpy(), rows.newest.labels_KT.numpy())
        figures = evaluate_artifact(candidate, *newest)
        comparable = serving.tasks.names == tasks.names
        old = evaluate_artifact(serving, *newest) if comparable else None
    failed = [gate for gate in verdict(figures, old, job.limits) if not gate.passed]
    version = candidate.manifest.version
    published = None if failed else Registry(job.registry).publish(job.folder, version)
    return RebuildResult(
        version=version,
        url=published,
        manifest_sha256="" if failed else candidate.manifest_sha256,
        refusals=[f"{gate.gate} {gate.task or ''}: {gate.reason}" for gate in failed],
        auc={name: metrics.auc_roc for name, metrics in figures.tasks.items()},
    )


def main() -> None:
    """Run the job in the file named first; write the result to the file named second."""
    job = RebuildJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    result = rebuild(job)
    Path(sys.argv[2]).write_text(result.model_dump_json())
    if result.url is not None:
        shutil.rmtree(job.folder)


if __name__ == "__main__":
    main()
