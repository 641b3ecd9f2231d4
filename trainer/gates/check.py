"""All gates of a candidate, on held-out rows that neither model has learned from.

N rows, C columns of ids, T tasks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128

from models.artifact import Artifact
from models.artifact.manifest import STUDENT_FILE
from models.artifact.scorer import Scorer
from models.settings.gates import GateLimits
from models.tasks import TaskSet
from trainer.gates.captured import Floats32, Passes, Policy, passes
from trainer.gates.fidelity import (
    Ids,
    Timer,
    agreement_gate,
    features_gate,
    teacher_gates,
    time_gate,
)
from trainer.gates.ledger import Ledger
from trainer.gates.log_loss import Scored
from trainer.gates.paired import Floats
from trainer.gates.report import GateReport, GateResult, Promise, Verdict, overall
from trainer.gates.statistical import Trying, better_gate, reward_gate, task_gates

CHUNK: Final = 8192


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows.

    Attributes:
        ids_NC: Feature ids.
        labels_NT: Whether the events happened; NaN where unknown.
        seen_R: Whether a training row of the candidate had each row of the embedding table.
        weights_N: Known weight of each row, such as inverse propensities; None if all are equal.
        elapsed_N: Age of each row, ms; None if unknown.
    """

    ids_NC: Ids
    labels_NT: Floats32
    seen_R: npt.NDArray[np.bool_]
    weights_N: Floats | None = None
    elapsed_N: npt.NDArray[np.int64] | None = None

    @property
    def digest(self) -> str:
        """Hash of all rows: the same rows are the same trial."""
        hashed = xxh3_128()
        for part in (self.ids_NC, self.labels_NT, self.weights_N):
            if part is not None:
                hashed.update(np.ascontiguousarray(part).tobytes())
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of one model: scores and uncertainties, each float32 (N, T)."""

    scores_NT: Floats32
    uncertainties_NT: Floats32

    @classmethod
    def of(cls, artifact: Artifact, ids_NC: Ids) -> "Predictions":
        """Score rows chunk by chunk.

        Raises:
            ScoringError: If the student cannot score them.
        """
        scorer = Scorer(artifact)
        parts = [
            scorer.score(np.asarray(ids_NC[start : start + CHUNK], np.int32))
            for start in range(0, len(ids_NC), CHUNK)
        ]
        scores, uncertainties = zip(*parts, strict=True)
        return cls(np.concatenate(scores), np.concatenate(uncertainties))

    @classmethod
    def constant(cls, rates: dict[str, float], tasks: TaskSet, rows: int) -> "Predictions":
        """The label rates of the training rows, for every request: what a first model must beat."""
        rates_T = np.array([rates[name] for name in tasks.names], np.float32)
        return cls(np.tile(rates_T, (rows, 1)), np.zeros((rows, len(tasks)), np.float32))


def check(
    candidate: Artifact,
    serving: Artifact,
    predictions: tuple[Predictions, Predictions | None],
    held_out: HeldOut,
    policy: Policy,
    limits: GateLimits,
    ledger: Ledger,
    timer: Timer,
) -> GateReport:
    """Try a candidate against the serving artifact.

    Gates that need no labels come first: a candidate that fails one of them is refused without a
    trial, which costs no error. Otherwise the trial is written to the ledger, then the labels are
    looked at.

    Args:
        candidate: The candidate.
        serving: What serves.
        predictions: Those of the candidate, and of the serving artifact; None if it cannot be
            compared: then the candidate is compared with the label rates of its training rows.
        held_out: The rows.
        policy: How requests pass.
        limits: Limits of the gates.
        ledger: The trials against the serving artifact.
        timer: A clock in seconds.
    """
    new, old = predictions
    comparable = None if old is None else serving
    results = _without_labels(candidate, comparable, held_out, limits, timer)
    scored, passing = _scored(candidate, new, old, held_out, policy)
    k, alpha_k = len(ledger.trials) + 1, 0.0
    if overall(tuple(results)) is Verdict.PASS:
        student = candidate.manifest.files[STUDENT_FILE]
        k, trial = ledger.open(student, held_out.digest, limits.alpha)
        alpha_k = trial.alpha_k
        trying = Trying(alpha_k, limits, lambda gate: ledger.starved(gate, k))
        results += statistical_gates(scored, passing, trying)
        ledger.close(k, [result.name for result in results if result.starved])
    promised = _promised(scored, policy, new, held_out)
    return GateReport(
        candidate=candidate.manifest.version,
        serving=None if comparable is None else serving.manifest.version,
        serving_sha256=serving.manifest_sha256,
        trial=k,
        alpha=limits.alpha,
        alpha_k=alpha_k,
        rows=len(held_out.ids_NC),
        rate=policy.rate,
        verdict=overall(tuple(results)),
        gates=tuple(_dated(result, promised) for result in results),
        promised=promised,
        reward_per_pass=_per_pass(passing),
    )


def _without_labels(
    candidate: Artifact,
    serving: Artifact | None,
    held_out: HeldOut,
    limits: GateLimits,
    timer: Timer,
) -> list[GateResult]:
    """The gates that need no labels."""
    return [
        agreement_gate(candidate.manifest.agreement, limits),
        *teacher_gates(candidate.manifest.metrics, limits),
        time_gate(candidate, serving, held_out.ids_NC, limits, timer),
        features_gate(held_out.seen_R, held_out.ids_NC, candidate.spec, limits),
    ]


def _scored(
    candidate: Artifact,
    new: Predictions,
    old: Predictions | None,
    held_out: HeldOut,
    policy: Policy,
) -> tuple[Scored, Passes]:
    """The rows with both models' scores, and which of them pass."""
    if old is None:
        rates = candidate.manifest.label_rates
        old = Predictions.constant(rates, candidate.tasks, len(held_out.ids_NC))
    scored = Scored(
        candidate_NT=new.scores_NT.astype(np.float64),
        serving_NT=old.scores_NT.astype(np.float64),
        labels_NT=held_out.labels_NT.astype(np.float64),
        tasks=candidate.tasks,
        weights_N=held_out.weights_N,
    )
    return scored, passes(scored, policy, (new.uncertainties_NT, old.uncertainties_NT))


def statistical_gates(scored: Scored, passing: Passes, trying: Trying) -> list[GateResult]:
    """The gates that look at labels."""
    results = [better_gate(scored, trying)]
    for column, name in enumerate(scored.tasks.names):
        results += task_gates(name, scored.task(column), trying)
    return [*results, reward_gate(passing, trying)]


def _per_pass(passing: Passes) -> float | None:
    passed = passing.values_N[passing.candidate_N]
    return float(passed.mean()) if len(passed) else None


def _dated(result: GateResult, promised: dict[str, Promise]) -> GateResult:
    """A task's result that says how old its evidence is: under drift, old evidence says less."""
    age = promised[result.task].age if result.task in promised else ""
    return result.model_copy(update={"reason": f"{result.reason}; {age}"}) if age else result


def _promised(
    scored: Scored, policy: Policy, new: Predictions, held_out: HeldOut
) -> dict[str, Promise]:
    passed_N = policy.passes(new.scores_NT, new.uncertainties_NT)
    promised = {}
    for column, name in enumerate(scored.tasks.names):
        known_N = scored.known(column)
        rows, among = known_N, known_N & passed_N
        scores_N, labels_N = scored.candidate_NT[:, column], scored.labels_NT[:, column]
        elapsed_N = held_out.elapsed_N
        ages_K = None if elapsed_N is None or not rows.any() else elapsed_N[rows] / 1000
        promised[name] = Promise(
            rows=int(rows.sum()),
            positives=int(labels_N[rows].sum()),
            mean_score=_mean(scores_N[rows]),
            label_rate=_mean(labels_N[rows]),
            passed_mean_score=_mean(scores_N[among]),
            passed_label_rate=_mean(labels_N[among]),
            newest_s=None if ages_K is None else float(ages_K.min()),
            median_s=None if ages_K is None else float(np.median(ages_K)),
        )
    return promised


def _mean(values_K: Floats) -> float:
    return float(values_K.mean()) if len(values_K) else 0.0
