"""One rebuild: train a candidate, compare it with the serving artifact, publish it if it passes.

It runs in a child process (``python -m trainer.pipeline.rebuild JOB RESULT``), so that the daemon
neither keeps its memory nor shares its crash; job and result are JSON files. Temporary files lie in
its ``TMPDIR``, which the daemon clears when the process has ended.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.registry import Registry
from models.data.examples import ExampleError
from models.process import logs
from models.tasks import TaskSet
from trainer.gates.report import Verdict
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.pipeline.train import train
from trainer.pipeline.trial import policy_of, try_candidate
from trainer.store.snapshot import Snapshot, write_snapshot
from trainer.store.windows import AttributionWindows
from trainer.training.rows import lay_out

logger = logging.getLogger(__name__)


def rebuild(job: RebuildJob) -> RebuildResult:
    """Train a candidate, check the gates, publish it if it passes.

    Raises:
        ArtifactError: If the serving artifact cannot be loaded.
        ExampleError: If the examples cannot be learned from.
        LedgerError: If the ledger of trials is damaged.
        PolicyError: If the settings' reward does not fit the tasks.
        RegistryError: If the candidate cannot be published.
    """
    serving = load_artifact(job.serving, job.serving_sha256)
    tasks = TaskSet(job.tasks)
    policy_of(job)  # rather now than after the training
    with tempfile.TemporaryDirectory() as temporary:
        examples = Path(temporary) / "snapshot"
        windows = AttributionWindows(tasks, job.time_scale, job.lateness_s)
        snapshot = write_snapshot(
            job.store, examples, serving.spec, windows, job.most, job.watermark_ms
        )
        if not snapshot.rows:
            raise ExampleError(
                f"{job.store}: no example has features of the serving spec ({serving.spec.hash}): "
                f"{snapshot}"
            )
        logger.info("learning from %d requests: %s", snapshot.rows, snapshot)
        train(
            examples,
            serving.spec,
            job.folder,
            job.config,
            job.seed,
            created=job.created,
            tasks=tasks,
        )
        return compare_and_publish(job, snapshot, examples, serving, load_artifact(job.folder))


def compare_and_publish(
    job: RebuildJob, snapshot: Snapshot, examples: Path, serving: Artifact, candidate: Artifact
) -> RebuildResult:
    """Check the gates on the held-out rows, which the candidate has not seen; publish or refuse."""
    tasks = TaskSet(job.tasks)
    with tempfile.TemporaryDirectory() as folder, Progress(disable=True) as bars:
        rows = lay_out(
            examples,
            None,
            serving.spec,
            tasks,
            held_out=job.config.held_out,
            folder=Path(folder),
            progress=bars,
        )
        report = try_candidate(job, rows, serving, candidate)
    version = candidate.manifest.version
    published = None
    if report.verdict is Verdict.PASS:
        published = Registry.of(job.registry, signing=True).publish(job.folder, version)
    return RebuildResult(
        version=version,
        url=published,
        manifest_sha256="" if published is None else load_artifact(job.folder).manifest_sha256,
        gates=report,
        auc={name: metrics.auc_roc for name, metrics in candidate.manifest.metrics.student.items()},
        snapshot=snapshot,
    )


def main() -> None:
    """Run the job of the file that the first argument names; write the result to the second."""
    job = RebuildJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    result = rebuild(job)
    Path(sys.argv[2]).write_text(result.model_dump_json())
    if result.url is not None:
        shutil.rmtree(job.folder)


if __name__ == "__main__":
    main()
