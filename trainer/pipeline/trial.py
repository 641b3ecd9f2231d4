"""The trial of a candidate against what serves, on held-out rows of the rebuild."""

import logging
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.artifact import Artifact, fetch_artifact, write_artifact
from models.artifact.manifest import CARD_FILE, sha256
from models.artifact.scorer import ScoringError
from models.data.examples import population_targets
from models.tasks import TaskSet
from stream.policy.value.valuation import Valuation
from trainer.evaluation.card import card_html
from trainer.gates.captured import Policy
from trainer.gates.check import HeldOut, Predictions, check
from trainer.gates.fidelity import seen_ids
from trainer.gates.ledger import Ledger
from trainer.gates.report import GATES_FILE, GateReport
from trainer.pipeline.manifest import selection_of
from trainer.pipeline.rebuild_job import RebuildJob
from trainer.training.rows import TrainingRows

logger = logging.getLogger(__name__)


def try_candidate(
    job: RebuildJob, rows: TrainingRows, serving: Artifact, candidate: Artifact
) -> GateReport:
    """Check all gates, log each one's verdict, and add them to the candidate's folder.

    The verdict becomes part of the candidate: ``gates.json`` and a section of its card, both listed
    with their hashes in its manifest.

    Raises:
        LedgerError: If the ledger of trials is damaged.
        PolicyError: If the settings' reward does not fit the tasks.
    """
    before = decided(candidate, serving, job.folder)
    if before is not None:
        return before
    held_out = _held_out(job, rows, candidate)
    np.save(job.seen_file, held_out.seen_R)
    return compare(job, held_out, serving, candidate)


def compare(
    job: RebuildJob, held_out: HeldOut, serving: Artifact, candidate: Artifact
) -> GateReport:
    """Check all gates on these rows, log each one's verdict, and add them to the candidate.

    Raises:
        LedgerError: If the ledger of trials is damaged.
        PolicyError: If the settings' reward does not fit the tasks.
    """
    new = Predictions.of(candidate, held_out.ids_NC)
    report = check(
        candidate,
        serving,
        (new, serving_predictions(serving, TaskSet(job.tasks), held_out)),
        held_out,
        policy_of(job),
        job.limits,
        Ledger(job.registry.registry, serving.manifest_sha256),
        time.perf_counter,
    )
    for gate in report.gates:
        logger.info("gate %s: %s: %s", gate.name, gate.verdict, gate.reason)
    targets_NT = population_targets(held_out.labels_NT, TaskSet(job.tasks))
    _add_verdict(job.folder, report, new, targets_NT)
    return report


def decided(candidate: Artifact, serving: Artifact, folder: Path) -> GateReport | None:
    """The verdict of a rebuild that was killed after it, perhaps after it published; or None."""
    if GATES_FILE not in candidate.manifest.files:
        return None
    report = GateReport.model_validate_json(fetch_artifact(folder).contents[GATES_FILE])
    return report if report.serving_sha256 == serving.manifest_sha256 else None


def policy_of(job: RebuildJob) -> Policy:
    """How the workers let requests pass, by the settings of all scenarios.

    Raises:
        PolicyError: If reward or weights do not fit the tasks.
    """
    valuation = Valuation(job.policy, TaskSet(job.tasks))
    return Policy(
        reward=lambda scores_NT, u_NT: valuation(scores_NT, u_NT)[0], rate=job.policy.rate
    )


def _held_out(job: RebuildJob, rows: TrainingRows, candidate: Artifact) -> HeldOut:
    part = rows.held_out_rows
    weights_N = selection_of(rows, job.config).weights_N
    uneven = len(np.unique(weights_N)) > 1
    return HeldOut(
        ids_NC=part.ids_KC.numpy(),
        labels_NT=part.labels_KT.numpy(),
        seen_R=seen_ids(candidate.spec.rows, rows.all_rows.ids_KC[rows.held_out :].numpy()),
        weights_N=weights_N if uneven else None,
        elapsed_N=None if part.opened is None else part.opened.elapsed_K.numpy(),
    )


def serving_predictions(serving: Artifact, tasks: TaskSet, held_out: HeldOut) -> Predictions | None:
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
