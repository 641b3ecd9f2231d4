"""One rebuild: train a candidate, compare it with the serving artifact, publish it if it passes.

It runs in a child process (``python -m trainer.pipeline.rebuild JOB RESULT``), so that the daemon
neither keeps its memory nor shares its crash; job and result are JSON files. Temporary files lie in
its ``TMPDIR``, which the daemon clears when the process has ended.
"""

import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from models.artifact import Artifact, fetch_artifact, load_artifact, write_artifact
from models.artifact.manifest import CARD_FILE, sha256
from models.artifact.registry import Registry
from models.artifact.scorer import ScoringError
from models.data.examples import ExampleError
from models.process import logs
from models.tasks import TaskSet
from stream.policy.value.valuation import Valuation
from trainer.evaluation.card import card_html
from trainer.gates.captured import Policy
from trainer.gates.check import HeldOut, Predictions, check
from trainer.gates.fidelity import seen_ids
from trainer.gates.ledger import Ledger
from trainer.gates.report import GATES_FILE, GateReport, Verdict
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.pipeline.snapshot import Snapshot, write_snapshot
from trainer.pipeline.train import train
from trainer.training.rows import TrainingRows, lay_out

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
    _policy(job)  # rather now than after the training
    with tempfile.TemporaryDirectory() as temporary:
        examples = Path(temporary) / "snapshot"
        snapshot = write_snapshot(job.parts, examples, serving.spec, tasks, job.most)
        if not snapshot.rows:
            raise ExampleError(
                f"no example of the {len(job.parts)} parts has labels for all tasks and features "
                f"of the serving spec ({serving.spec.hash}): {snapshot}"
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
    """Check the gates on the held-out rows, which the candidate has not seen; publish or refuse.

    The verdict becomes part of the candidate: ``gates.json`` and a section of its card.
    """
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
        held_out = _held_out(rows, candidate)
        new = Predictions.of(candidate, held_out.ids_NC)
        old = _serving_predictions(serving, tasks, held_out)
        report = check(
            candidate,
            serving,
            (new, old),
            held_out,
            _policy(job),
            job.limits,
            Ledger(job.registry, serving.manifest_sha256),
            time.perf_counter,
        )
        _add_verdict(job.folder, report, new, rows.held_out_rows.targets_KT.numpy())
    for gate in report.gates:
        logger.info("gate %s: %s: %s", gate.name, gate.verdict, gate.reason)
    version = candidate.manifest.version
    published = None
    if report.verdict is Verdict.PASS:
        published = Registry(job.registry).publish(job.folder, version)
    return RebuildResult(
        version=version,
        url=published,
        manifest_sha256="" if published is None else load_artifact(job.folder).manifest_sha256,
        gates=report,
        auc={name: metrics.auc_roc for name, metrics in candidate.manifest.metrics.student.items()},
        snapshot=snapshot,
    )


def _policy(job: RebuildJob) -> Policy:
    """How the workers let requests pass.

    Raises:
        PolicyError: If reward or weights do not fit the tasks.
    """
    valuation = Valuation(job.policy, TaskSet(job.tasks))
    return Policy(
        reward=lambda scores_NT, u_NT: valuation(scores_NT, u_NT)[0], rate=job.policy.rate
    )


def _held_out(rows: TrainingRows, candidate: Artifact) -> HeldOut:
    part = rows.held_out_rows
    uneven = part.uneven_weights
    return HeldOut(
        ids_NC=part.ids_KC.numpy(),
        labels_NT=part.labels_KT.numpy(),
        seen_R=seen_ids(candidate.spec.rows, rows.all_rows.ids_KC[rows.held_out :].numpy()),
        weights_N=None if uneven is None else uneven.numpy().astype(np.float64),
    )


def _serving_predictions(
    serving: Artifact, tasks: TaskSet, held_out: HeldOut
) -> Predictions | None:
    """None if the serving artifact has other tasks or cannot score: then it is replaceable."""
    if serving.tasks.names != tasks.names:
        return None
    try:
        return Predictions.of(serving, held_out.ids_NC)
    except ScoringError as error:
        logger.warning("the serving artifact cannot score the held-out rows: %s", error)
        return None


def _add_verdict(
    folder: Path, report: GateReport, new: Predictions, targets_NT: npt.NDArray[np.float32]
) -> None:
    """Add ``gates.json`` and the card's section to the candidate; its manifest lists both."""
    files = fetch_artifact(folder)
    card = card_html(files.manifest, new.scores_NT, new.uncertainties_NT, targets_NT, report)
    changed = {GATES_FILE: report.to_bytes(), CARD_FILE: card.encode()}
    contents = {name: files.contents[name] for name in files.manifest.files} | changed
    listed = files.manifest.files | {name: sha256(content) for name, content in changed.items()}
    write_artifact(folder, files.manifest.model_copy(update={"files": listed}), contents)


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
