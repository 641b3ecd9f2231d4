"""One rebuild: train a candidate, compare it with the serving artifact, publish it if it passes.

It runs in a child process (``python -m trainer.pipeline.rebuild JOB RESULT``), so that the daemon
neither keeps its memory nor shares its crash; job and result are JSON files. If it is killed and
started again with the same job, it goes on with the snapshot and the checkpoint in the job's folder
``work``, or with the finished candidate. Temporary files lie in its ``TMPDIR``. The daemon clears
both folders.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

from pydantic import TypeAdapter
from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.manifest import MANIFEST_FILE
from models.artifact.registry import Registry
from models.data.examples import ExampleError
from models.features import FeatureSpec
from models.process import logs
from models.process.atomic import write_atomically
from models.process.parent import end_with_parent
from models.tasks import TaskSet
from trainer.gates.report import GateReport, Verdict
from trainer.pipeline.rebuild_job import KEPT_TEACHER, RebuildJob, RebuildResult
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
    policy_of(job)  # rather now than after the training
    examples, snapshot = _snapshot(job, serving.spec)
    if not (job.folder / MANIFEST_FILE).exists():
        train(
            examples,
            serving.spec,
            job.folder,
            job.config,
            job.seed,
            created=job.created,
            tasks=TaskSet(job.tasks),
            checkpoint=job.work / "checkpoint",
            start=job.start,
            keep=job.work / KEPT_TEACHER,
        )
    return compare_and_publish(job, snapshot, examples, serving, load_artifact(job.folder))


def _snapshot(job: RebuildJob, spec: FeatureSpec) -> tuple[Path, Snapshot]:
    """The folder of the snapshot and its summary; written unless an interrupted rebuild has it.

    Raises:
        ExampleError: If there is no example to learn from.
    """
    examples, summary = job.work / "snapshot", job.work / "snapshot.json"
    kind = TypeAdapter(Snapshot)
    if summary.exists():
        snapshot = kind.validate_json(summary.read_bytes())
        logger.info("going on with the snapshot of %d requests", snapshot.rows)
        return examples, snapshot
    shutil.rmtree(examples, ignore_errors=True)
    job.work.mkdir(parents=True, exist_ok=True)
    windows = AttributionWindows(TaskSet(job.tasks), job.time_scale, job.lateness_s)
    snapshot = write_snapshot(job.store, examples, spec, windows, job.most, job.watermark_ms)
    if not snapshot.rows:
        raise ExampleError(
            f"{job.store}: no example has features of the serving spec ({spec.hash}): {snapshot}"
        )
    write_atomically(summary, kind.dump_json(snapshot))
    logger.info("learning from %d requests: %s", snapshot.rows, snapshot)
    return examples, snapshot


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
    return publish_if_passed(job, snapshot, report, candidate)


def publish_if_passed(
    job: RebuildJob, snapshot: Snapshot, report: GateReport, candidate: Artifact
) -> RebuildResult:
    """Publish a candidate that passed its gates; the result of the job.

    Raises:
        RegistryError: If it cannot be published.
    """
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
    end_with_parent()
    job = RebuildJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    result = rebuild(job)
    write_atomically(Path(sys.argv[2]), result.model_dump_json().encode())
    if result.url is not None:
        shutil.rmtree(job.folder)


if __name__ == "__main__":
    main()
