"""The gates that need no labels: the exported student itself, its speed, and its features.

Student against teacher, ONNX against torch, time per request, and feature values that training
never saw.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.artifact import Artifact
from models.artifact.manifest import Metrics
from models.artifact.scorer import Scorer
from models.features import FeatureSpec
from models.settings.gates import GateLimits
from trainer.gates.report import Gate, GateResult, Verdict

Timer = Callable[[], float]
Ids = npt.NDArray[np.integer[Any]]
TIMED_ROWS: Final = 2048
TIMED_ROUNDS: Final = 9
"""Rounds of timing, in each of which both models score the same rows; the median counts."""
WORST: Final = 3
"""Features that are named."""


def agreement_gate(agreement: float, limits: GateLimits) -> GateResult:
    """ONNX against torch: largest difference of any score or uncertainty at export."""
    return _at_most(Gate.AGREEMENT, None, agreement, limits.agreement, "largest difference")


def teacher_gates(metrics: Metrics, limits: GateLimits) -> list[GateResult]:
    """Student against teacher: order of scores and of uncertainties on the held-out rows."""
    results = []
    for gate, figures, limit in (
        (Gate.TEACHER_SCORE, metrics.score_spearman, limits.teacher_score),
        (Gate.TEACHER_UNCERTAINTY, metrics.uncertainty_spearman, limits.teacher_uncertainty),
    ):
        for task, figure in figures.items():
            shared = metrics.uncertainty_tail.get(task)
            tail = (
                f"; {shared:.0%} of the teacher's most uncertain tenth are in the student's"
                if gate is Gate.TEACHER_UNCERTAINTY and shared is not None
                else ""
            )
            passed = figure >= limit
            results.append(
                GateResult(
                    gate=gate,
                    task=task,
                    verdict=Verdict.PASS if passed else Verdict.FAIL,
                    figure=figure,
                    limit=limit,
                    reason=f"rank correlation {figure:.4f}, least {limit:g}{tail}",
                )
            )
    return results


def time_gate(
    candidate: Artifact, serving: Artifact | None, ids_NC: Ids, limits: GateLimits, timer: Timer
) -> GateResult:
    """Median time per request, against the serving model's on the same rows in turn."""
    ids_KC = np.asarray(ids_NC[:TIMED_ROWS], np.int32)
    scorers = [Scorer(artifact) for artifact in (candidate, serving) if artifact is not None]
    for scorer in scorers:
        scorer.warm_up()
    times: list[list[float]] = [[] for _ in scorers]
    for _ in range(TIMED_ROUNDS):
        for scorer, taken in zip(scorers, times, strict=True):
            began = timer()
            scorer.score(ids_KC)
            taken.append((timer() - began) * 1e6 / max(len(ids_KC), 1))
    medians = [float(np.median(taken)) for taken in times]
    if serving is None:
        return _at_most(Gate.TIME, None, medians[0], limits.request_us, "us per request")
    ratio = medians[0] / max(medians[1], 1e-9)
    result = _at_most(Gate.TIME, None, ratio, limits.slowdown, "of the serving model's time")
    words = f"{medians[0]:.2f} us per request against {medians[1]:.2f}: "
    return result.model_copy(
        update={
            "candidate": medians[0],
            "serving": medians[1],
            "reason": words + result.reason,
        }
    )


def features_gate(
    seen_R: npt.NDArray[np.bool_], ids_NC: Ids, spec: FeatureSpec, limits: GateLimits
) -> GateResult:
    """Share of the held-out feature values that no training row had.

    Args:
        seen_R: Whether a training row had each row of the embedding table.
        ids_NC: Held-out rows.
        spec: Their feature spec.
        limits: Limits.
    """
    unseen_C = np.zeros(spec.columns)
    for start in range(0, len(ids_NC), 65_536):
        unseen_C += (~seen_R[np.asarray(ids_NC[start : start + 65_536])]).sum(axis=0)
    unseen_C /= max(len(ids_NC), 1)
    names = [feature.name for feature in spec.features for _ in range(feature.slots)]
    worst = [column for column in np.argsort(-unseen_C)[:WORST] if unseen_C[column] > 0]
    named = ", ".join(f"{names[column]} {unseen_C[column]:.1%}" for column in worst)
    result = _at_most(
        Gate.FEATURES, None, float(unseen_C.mean()), limits.unseen, "of the values unseen"
    )
    if not named:
        return result
    return result.model_copy(update={"reason": f"{result.reason}; most: {named}"})


def seen_ids(rows: int, ids_NC: Any, chunk: int = 65_536) -> npt.NDArray[np.bool_]:
    """Whether each of ``rows`` rows of the embedding table occurs; read chunk by chunk."""
    seen_R = np.zeros(rows, np.bool_)
    for start in range(0, len(ids_NC), chunk):
        seen_R[np.asarray(ids_NC[start : start + chunk]).ravel()] = True
    return seen_R


def _at_most(gate: Gate, task: str | None, figure: float, limit: float, what: str) -> GateResult:
    passed = figure <= limit
    finite = bool(np.isfinite(figure))
    return GateResult(
        gate=gate,
        task=task,
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        figure=figure if finite else None,
        limit=limit,
        candidate=figure if finite else None,
        reason=f"{figure:.4g} {what}, at most {limit:g}",
    )
