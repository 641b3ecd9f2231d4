"""Gates: whether a candidate may replace the serving artifact.

Both are evaluated on the same held-out rows, the newest ones.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from models.artifact.manifest import TaskMetrics

if TYPE_CHECKING:
    from trainer.evaluation.metrics import Evaluation


class Gate(StrEnum):
    """The gates that a candidate must pass."""

    AUC = "auc"
    LOG_LOSS = "log-loss"
    CALIBRATION = "calibration"
    AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True)
class GateLimits:
    """How much worse than the serving artifact a candidate may be.

    Attributes:
        auc_drop: Largest drop of the AUC-ROC per task.
        log_loss_growth: Largest relative growth of the log-loss per task.
        ece_growth: Largest growth of the calibration error per task.
        agreement: Largest difference between torch and onnxruntime at export.
        min_positives: Tasks with fewer positives or negatives are too noisy and not gated.
    """

    auc_drop: float = 0.01
    log_loss_growth: float = 0.02
    ece_growth: float = 0.02
    agreement: float = 1e-5
    min_positives: int = 50


@dataclass(frozen=True, slots=True)
class GateResult:
    """Result of one gate.

    Attributes:
        gate: The gate.
        task: The task; None for gates of the whole artifact.
        passed: Whether the candidate passes.
        candidate: The candidate's figure; None if the gate was skipped.
        limit: The worst figure that passes.
        reason: The result as a sentence for logs.
    """

    gate: Gate
    task: str | None
    passed: bool
    candidate: float | None
    limit: float | None
    reason: str


def check_gates(
    candidate: "Evaluation", serving: "Evaluation | None", limits: GateLimits = GateLimits()
) -> list[GateResult]:
    """Check a candidate against the serving artifact.

    Args:
        candidate: The candidate on the newest held-out rows.
        serving: The serving artifact on the same rows; None if nothing comparable serves: then
            the candidate must only beat chance and be calibrated.
        limits: Greatest losses that a candidate may have.

    Returns:
        One result per gate and task. The candidate may be published if all pass.
    """
    results = [_at_most(Gate.AGREEMENT, None, candidate.agreement, limits.agreement)]
    for task, figures in candidate.tasks.items():
        old = serving.tasks.get(task) if serving else None
        results += _check_task(task, figures, old, limits)
    return results


def _check_task(
    task: str, new: TaskMetrics, old: TaskMetrics | None, limits: GateLimits
) -> list[GateResult]:
    rarer = min(new.positives, new.rows - new.positives)
    if new.auc_roc is None or new.log_loss is None or new.ece is None:
        return [_skipped(gate, task, "a class is missing") for gate in _TASK_GATES]
    if rarer < limits.min_positives:
        reason = f"only {rarer} rows of the rarer class, {limits.min_positives} are needed"
        return [_skipped(gate, task, reason) for gate in _TASK_GATES]
    floor = 0.5 if old is None or old.auc_roc is None else old.auc_roc
    results = [_at_least(Gate.AUC, task, new.auc_roc, floor - limits.auc_drop)]
    if old is not None and old.log_loss is not None:
        ceiling = old.log_loss * (1 + limits.log_loss_growth)
        results.append(_at_most(Gate.LOG_LOSS, task, new.log_loss, ceiling))
    old_ece = 0.0 if old is None or old.ece is None else old.ece
    results.append(_at_most(Gate.CALIBRATION, task, new.ece, old_ece + limits.ece_growth))
    return results


_TASK_GATES = (Gate.AUC, Gate.LOG_LOSS, Gate.CALIBRATION)


def _at_most(gate: Gate, task: str | None, figure: float, limit: float) -> GateResult:
    passed = figure <= limit
    reason = f"{figure:.6g} is {'within' if passed else 'above'} {limit:.6g}"
    return GateResult(gate, task, passed, figure, limit, reason)


def _at_least(gate: Gate, task: str | None, figure: float, limit: float) -> GateResult:
    passed = figure >= limit
    reason = f"{figure:.6g} {'reaches' if passed else 'is below'} {limit:.6g}"
    return GateResult(gate, task, passed, figure, limit, reason)


def _skipped(gate: Gate, task: str, reason: str) -> GateResult:
    return GateResult(gate, task, passed=True, candidate=None, limit=None, reason=reason)
