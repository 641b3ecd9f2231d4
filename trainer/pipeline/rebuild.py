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

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.registry import Registry
from models.artifact.scorer import ScoringError
from models.data.examples import ExampleError
from models.process import logs
from models.tasks import TaskSet
from trainer.evaluation.gates import check_gates
from trainer.evaluation.metrics import Evaluation, evaluate_artifact
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
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
    tasks = TaskSet(job.tasks)
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
    job = RebuildJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    result = rebuild(job)
    Path(sys.argv[2]).write_text(result.model_dump_json())
    if result.url is not None:
        shutil.rmtree(job.folder)


if __name__ == "__main__":
    main()
