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

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.manifest import MANIFEST_FILE
from models.artifact.registry import Registry
from models.artifact.scorer import ScoringError
from models.data.examples import ExampleError
from models.features import FeatureSpec
from models.process import logs
from models.process.atomic import write_atomically
from models.process.parent import end_with_parent
from models.tasks import TaskSet
from trainer.evaluation.gates import check_gates
from trainer.evaluation.metrics import Evaluation, evaluate_artifact
from trainer.pipeline.rebuild_job import KEPT_TEACHER, RebuildJob, RebuildResult
from trainer.pipeline.train import train
from trainer.store.snapshot import Snapshot, write_snapshot
from trainer.store.windows import AttributionWindows
from trainer.training.rows import lay_out

logger = logging.getLogger(__name__)


def rebuild(job: RebuildJob) -> RebuildResult:
    """Train a candidate, check the gates, publish it if it passes.

    Raises:
        ArtifactError: If the serving artifact cannot be loaded.
        ExampleError: If the examples cannot be learned from.
        RegistryError: If the candidate cannot be published.
    """
    serving = load_artifact(job.serving, job.serving_sha256)
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
    """Compare both on the held-out rows, which the candidate has not seen; publish or refuse."""
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
        held_out = (rows.held_out_rows.ids_KC.numpy(), rows.held_out_rows.labels_KT.numpy())
        new = evaluate_artifact(candidate, *held_out)
        comparable = serving.tasks.names == tasks.names
        old = _evaluate_serving(serving, *held_out) if comparable else None
    verdicts = check_gates(new, old, job.limits)
    passed = all(gate.passed for gate in verdicts)
    version = candidate.manifest.version
    registry = Registry.of(job.registry, signing=True)
    published = registry.publish(job.folder, version) if passed else None
    return RebuildResult(
        version=version,
        url=published,
        manifest_sha256=candidate.manifest_sha256 if passed else "",
        verdicts=verdicts,
        auc={name: metrics.auc_roc for name, metrics in new.tasks.items()},
        snapshot=snapshot,
    )


def _evaluate_serving(
    serving: Artifact, ids_NC: npt.NDArray[np.int32], targets_NT: npt.NDArray[np.float32]
) -> Evaluation | None:
    """Evaluate the serving artifact; None if it cannot score these rows: then it is replaceable."""
    try:
        return evaluate_artifact(serving, ids_NC, targets_NT)
    except ScoringError as error:
        logger.warning("the serving artifact cannot score the held-out rows: %s", error)
        return None


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
