"""The gates that compare candidate and serving model on held-out labels.

Each says PASS if its bound is within the limit, FAIL if the opposite bound is outside, and HOLD
otherwise: not enough evidence. A HOLD for which rows are too few whatever the candidate
(``starved``) becomes WAIVED when the same gate held ``patience`` candidates for the same reason
before; the gate BETTER, which says that the labels together are predicted better, is never waived.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from models.settings.gates import GateLimits
from trainer.gates.captured import Passes
from trainer.gates.curves import Figure, average_precision, calibration_error
from trainer.gates.log_loss import (
    Scored,
    TaskRows,
    joint_differences,
    log_loss,
    task_differences,
)
from trainer.gates.paired import Differences, Interval, interval
from trainer.gates.report import Gate, GateResult, Verdict

SEED = 0
"""Of the bootstrap: the same rows give the same verdict."""


@dataclass(frozen=True, slots=True)
class Trying:
    """How a candidate is tried.

    Attributes:
        alpha_k: Its level.
        limits: Limits of the gates.
        starved: In how many earlier trials a gate, by name, lacked data.
    """

    alpha_k: float
    limits: GateLimits
    starved: Callable[[str], int]


def better_gate(scored: Scored, trying: Trying) -> GateResult:
    """The mean log-loss of all known labels of a row must be shown to be lower."""
    differences = joint_differences(scored)
    bounds = interval(differences, trying.alpha_k)
    limit = trying.limits.better
    verdict = _verdict(bounds.low > limit, bounds.high < limit)
    text = {
        Verdict.PASS: "better",
        Verdict.HOLD: "not shown to be better",
        Verdict.FAIL: "shown not to be better",
    }[verdict]
    needed = _rows_needed(differences, bounds.estimate - limit, trying.alpha_k)
    return GateResult(
        gate=Gate.BETTER,
        verdict=verdict,
        figure=bounds.estimate,
        low=_finite(bounds.low),
        high=_finite(bounds.high),
        limit=limit,
        needed=needed if verdict is Verdict.HOLD else None,
        reason=(
            f"{text}: {bounds.estimate:+.5f} nats per request, "
            f"{bounds.low:+.5f} to {bounds.high:+.5f}, limit {limit:+g}"
            + _wanting(verdict, needed, "rows")
        ),
    )


def task_gates(name: str, rows: TaskRows, trying: Trying) -> list[GateResult]:
    """Log-loss, AUC-PR and calibration of one task must not be worse than their margins."""
    limits = trying.limits
    log_loss_result = _log_loss_gate(name, rows, trying)
    if rows.rarer < limits.min_positives:
        curves = (_starved(gate, name, rows, trying) for gate in (Gate.AUC_PR, Gate.CALIBRATION))
        return [log_loss_result, *curves]
    precision = average_precision(rows, SEED)
    drop = _scaled(precision, -1.0 / precision.serving)
    calibration = calibration_error(rows, SEED)
    return [
        log_loss_result,
        _curve_gate(Gate.AUC_PR, name, rows, drop, limits.auc_pr, trying),
        _curve_gate(Gate.CALIBRATION, name, rows, calibration, limits.calibration, trying),
    ]


def reward_gate(passes: Passes, trying: Trying) -> GateResult:
    """The outcome value in the passed share must not be lower by more than its margin."""
    margin = trying.limits.reward
    new, old = passes.captured(passes.candidate_N), passes.captured(passes.serving_N)
    if not old > 0:
        return _without_figures(Gate.REWARD, None, "nothing of value passes", None, trying)
    differences = passes.differences(margin)
    bounds = interval(differences, trying.alpha_k)
    return _margin_result(
        Gate.REWARD,
        None,
        Interval(1 - new / old, margin - bounds.high / old, margin - bounds.low / old),
        margin,
        candidate=new,
        serving=old,
        needed=_rows_needed(differences, bounds.estimate, trying.alpha_k),
        too_few=differences.predicted_radius(trying.alpha_k) > margin * old,
        trying=trying,
    )


def _log_loss_gate(name: str, rows: TaskRows, trying: Trying) -> GateResult:
    margin = trying.limits.log_loss
    if not len(rows):
        return _starved(Gate.LOG_LOSS, name, rows, trying)
    new = log_loss(rows.candidate_K, rows.labels_K, rows.weights_K)
    old = log_loss(rows.serving_K, rows.labels_K, rows.weights_K)
    differences = task_differences(rows, margin)
    bounds = interval(differences, trying.alpha_k)
    needed = _rows_needed(differences, bounds.estimate, trying.alpha_k)
    return _margin_result(
        Gate.LOG_LOSS,
        name,
        Interval(new / old - 1, margin - bounds.high / old, margin - bounds.low / old),
        margin,
        candidate=new,
        serving=old,
        needed=_positives_needed(rows, needed, trying),
        too_few=differences.predicted_radius(trying.alpha_k) > margin * old,
        trying=trying,
        enough=rows.rarer >= trying.limits.min_positives,
    )


def _curve_gate(
    gate: Gate, name: str, rows: TaskRows, figure: Figure, margin: float, trying: Trying
) -> GateResult:
    """A gate of a figure whose difference is worse the larger it is."""
    radius = -float(ndtri(trying.alpha_k)) * figure.error
    gap = margin - figure.difference
    needed = math.ceil(len(rows) * ((radius / gap) ** 2 - 1)) if gap > 0 else None
    return _margin_result(
        gate,
        name,
        figure.interval(trying.alpha_k),
        margin,
        candidate=figure.candidate,
        serving=figure.serving,
        needed=_positives_needed(rows, needed, trying),
        too_few=radius > margin,
        trying=trying,
    )


def _margin_result(
    gate: Gate,
    task: str | None,
    bounds: Interval,
    margin: float,
    *,
    candidate: float,
    serving: float,
    needed: int | None,
    too_few: bool,
    trying: Trying,
    enough: bool = True,
) -> GateResult:
    """Result of a gate whose figure, the loss against the serving model, must be below a margin.

    Args:
        gate: The gate.
        task: Its task.
        bounds: The figure, with bounds.
        margin: The margin.
        candidate: The candidate's own figure.
        serving: The serving model's.
        needed: How many more positives or rows would show it.
        too_few: Whether the bounds of a figure of 0 would not lie within the margin.
        trying: How the candidate is tried.
        enough: Whether there are positives enough to pass at all.
    """
    too_few = too_few or not enough
    verdict = _verdict(bounds.high < margin and enough, bounds.low > margin)
    if verdict is Verdict.HOLD and too_few and _excused(gate, task, trying):
        verdict = Verdict.WAIVED
    return GateResult(
        gate=gate,
        task=task,
        verdict=verdict,
        figure=bounds.estimate,
        low=_finite(bounds.low),
        high=_finite(bounds.high),
        limit=margin,
        candidate=candidate,
        serving=serving,
        needed=needed if verdict is Verdict.HOLD else None,
        starved=too_few and verdict in {Verdict.HOLD, Verdict.WAIVED},
        reason=(
            f"{candidate:.5g} against {serving:.5g}: {bounds.estimate:+.4f}, {bounds.low:+.4f} to "
            f"{bounds.high:+.4f}, limit {margin:+g}"
            + _wanting(verdict, needed, "rows" if task is None else "positives")
        ),
    )


def _starved(gate: Gate, task: str, rows: TaskRows, trying: Trying) -> GateResult:
    least = trying.limits.min_positives
    reason = f"{rows.rarer} rows of the rarer class, at least {least} are needed"
    return _without_figures(gate, task, reason, least - rows.rarer, trying)


def _without_figures(
    gate: Gate, task: str | None, reason: str, needed: int | None, trying: Trying
) -> GateResult:
    verdict = Verdict.WAIVED if _excused(gate, task, trying) else Verdict.HOLD
    if verdict is Verdict.WAIVED:
        reason += _wanting(verdict, needed, "")
    return GateResult(
        gate=gate, task=task, verdict=verdict, reason=reason, needed=needed, starved=True
    )


def _excused(gate: Gate, task: str | None, trying: Trying) -> bool:
    name = GateResult(gate=gate, task=task, verdict=Verdict.HOLD, reason="").name
    return trying.starved(name) >= trying.limits.patience


def _verdict(passed: bool, failed: bool) -> Verdict:
    if passed:
        return Verdict.PASS
    return Verdict.FAIL if failed else Verdict.HOLD


def _rows_needed(differences: Differences, estimate: float, alpha: float) -> int | None:
    """How many more rows would show the estimate to be above 0, if it stayed; None for no number.

    The bound is sqrt(2 v log(1/alpha) / n) below the estimate, v the variance of a row.
    """
    if not (estimate > 0 and len(differences)):
        return None
    variance = float(((differences.values_N - differences.centres_N) ** 2).mean())
    rows = 2 * variance * math.log(1 / alpha) / estimate**2
    return max(math.ceil(rows) - len(differences), 1)


def _positives_needed(rows: TaskRows, more_rows: int | None, trying: Trying) -> int | None:
    if more_rows is None:
        return None
    more = math.ceil(max(more_rows, 0) * rows.rarer / len(rows))
    return max(more, trying.limits.min_positives - rows.rarer)


def _wanting(verdict: Verdict, needed: int | None, unit: str) -> str:
    if verdict is Verdict.WAIVED:
        return "; waived, since the data were too few for earlier candidates, too"
    if verdict is not Verdict.HOLD:
        return ""
    if needed is None:
        return "; no number of rows would show it if these figures stayed"
    return f"; about {needed:,} more {unit} would show it if these figures stayed"


def _scaled(figure: Figure, factor: float) -> Figure:
    """The figure with its difference in other units."""
    return Figure(
        figure.candidate, figure.serving, figure.difference * factor, figure.error * abs(factor)
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
