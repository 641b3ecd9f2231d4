"""Whether a version keeps what it promised, from the passed requests whose labels are known.

Pure: arrays in, a verdict out. The rows are those that the version passed, in the order of time.
Each promise is a bound of a mean of bounded values per row, watched by a confidence sequence
(:mod:`trainer.gates.confidence_sequence`), so that it may be looked at after every row; all of them
together cry wolf with probability ``alpha`` at most, however long a version is watched.

============ =======================================================================================
calibration  per task: the events are at least 1 - m and at most 1 + m times the sum of the scores
log-loss     per task: at most 1 + d times that of the version before, on the same rows
reward       the value of the outcomes is at least 1 - m times what the scores promised
============ =======================================================================================

What passes was chosen by the version's own scores, so that they are a little too high there even if
the version is as good as any (the winner's curse): the margins m and d leave room for it. A market
that changes puts every version off. So calibration and reward count as broken only if the version
before is less than half as far off on the same rows, as a logarithm of the ratio.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from models.tasks import TaskSet
from trainer.gates.confidence_sequence import ConfidenceSequence

STEP: Final = 500
"""Rows between two looks; a bound that holds at all times may be looked at at any of them."""
MAX_NATS: Final = 1.0
"""Most that a single row may say for or against a version by its log-loss; more is clipped."""
LEAST_SCORE: Final = 1e-6
TIGHTEST_AT: Final = 30.0
"""Some thousand requests of a task with five events per hundred."""
Floats = npt.NDArray[np.float64]


class WatchLimits(BaseModel):
    """What is promised, and how sure a broken promise must be.

    Attributes:
        alpha: Probability that a version that keeps all promises is ever found to break one.
        calibration: m of calibration, and of the reward.
        log_loss: d of the log-loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.01, gt=0, lt=1)
    calibration: float = Field(default=0.15, gt=0, lt=1)
    log_loss: float = Field(default=0.02, gt=0)


@dataclass(frozen=True, slots=True)
class Watched:
    """N requests that a version passed, oldest first; T tasks.

    Attributes:
        scores_NT: Its scores, each on the task's own population.
        previous_NT: Scores of the version before, of the same requests.
        labels_NT: 1, 0, or NaN where the label is not final yet.
        values_T: Value of one event of each task.
        weights_N: How many requests each row stands for; None if for one each.
    """

    scores_NT: Floats
    previous_NT: Floats
    labels_NT: Floats
    values_T: Floats
    weights_N: Floats | None = None


class Finding(BaseModel):
    """What one promise came to.

    Attributes:
        promise: ``calibration``, ``log-loss`` or ``reward``.
        task: Name of the task; "" for the reward.
        rows: Rows that were looked at: those with a final label, up to where it was broken.
        passed: Passed requests up to the last of them.
        kept: Whether it holds, as far as is known.
        found: Ratio found: events to scores, log-loss to that of the version before, or value to
            what was promised; 0 without rows.
        before: The same ratio of the version before; 1 for the log-loss.
        bounds: Bounds of the ratio, at the error of the verdict.
        allowed: The least and the greatest ratio that keep the promise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    promise: str
    task: str
    rows: int
    passed: int
    kept: bool
    found: float
    before: float
    bounds: tuple[float, float]
    allowed: tuple[float, float]

    def __str__(self) -> str:
        what = {
            "calibration": f"events of {self.task} to scores",
            "log-loss": f"log-loss of {self.task} to that of the version before",
            "reward": "value to what was promised",
        }[self.promise]
        (least, most), (low, high) = self.bounds, self.allowed
        return (
            f"{what}: {self.found:.3f} ({least:.3f} to {most:.3f}) over {self.rows} requests, "
            f"{low:.2f} to {high:.2f} allowed; version before: {self.before:.3f}"
        )


class Verdict(BaseModel):
    """All findings.

    Attributes:
        rows: Passed requests.
        final: Of these, the ones whose labels are final for all tasks.
        findings: One per promise.
    """

    rows: int
    final: int
    findings: list[Finding]

    @property
    def broken(self) -> list[Finding]:
        """Promises that are not kept, the soonest found first."""
        return sorted((f for f in self.findings if not f.kept), key=lambda finding: finding.passed)


@dataclass(frozen=True, slots=True)
class _Promise:
    """K rows of one promise: the ratio of found to promised must stay within bounds.

    Attributes:
        name: Name of the promise.
        task: Name of the task, or "".
        at_K: Row of each among all passed requests.
        found_K: Events, log-loss, or value.
        promised_K: Scores, log-loss of the version before, or value by the scores.
        before_K: What the version before promised; None if its ratio does not matter.
        unit: Value of one event, for ratios of few events.
        ends: Least and greatest of ``found - ratio * promised`` of a row, for a ratio.
        allowed: Least and greatest ratio; 0 or infinity for no limit.
    """

    name: str
    task: str
    at_K: npt.NDArray[np.intp]
    found_K: Floats
    promised_K: Floats
    before_K: Floats | None
    unit: float
    ends: Callable[[float], tuple[float, float]]
    allowed: tuple[float, float]

    def sides(self) -> Iterator[tuple[float, int]]:
        """Each limit with 1 if it is the greatest ratio, -1 if it is the least."""
        low, high = self.allowed
        if low > 0:
            yield low, -1
        if math.isfinite(high):
            yield high, 1


def judge(watched: Watched, tasks: TaskSet, limits: WatchLimits) -> Verdict:
    """Look at all promises from the first row on, after every few rows.

    Args:
        watched: The rows.
        tasks: The tasks, in the order of the columns.
        limits: What is promised.
    """
    promises = [_weighted(promise, watched) for promise in _promises(watched, tasks, limits)]
    alpha = limits.alpha / max(sum(len(list(promise.sides())) for promise in promises), 1)
    findings = [_look(promise, alpha) for promise in promises]
    final = int(np.count_nonzero(np.isfinite(watched.labels_NT).all(axis=1)))
    return Verdict(rows=len(watched.labels_NT), final=final, findings=findings)


def _promises(watched: Watched, tasks: TaskSet, limits: WatchLimits) -> Iterator[_Promise]:
    m, d = limits.calibration, limits.log_loss
    labels_NT = watched.labels_NT
    for column, task in enumerate(tasks):
        known_N = np.isfinite(labels_NT[:, column])
        if task.population in tasks.names:
            known_N &= labels_NT[:, tasks.index(task.population)] == 1
        at_K = np.flatnonzero(known_N)
        y_K = labels_NT[known_N, column]
        s_K, p_K = watched.scores_NT[known_N, column], watched.previous_NT[known_N, column]
        yield _Promise(
            *("calibration", task.name, at_K, y_K, s_K, p_K),
            *(1.0, lambda ratio: (-ratio, 1.0), (1 - m, 1 + m)),
        )
        losses = _log_loss(y_K, s_K), _log_loss(y_K, p_K)
        yield _Promise(
            *("log-loss", task.name, at_K, *losses, None),
            *(1.0, lambda _: (-MAX_NATS, MAX_NATS), (0.0, 1 + d)),
        )
    values_T = watched.values_T
    if values_T.any():
        valued_N = np.isfinite(labels_NT[:, values_T != 0]).all(axis=1)
        value_K = np.nan_to_num(labels_NT[valued_N]) @ values_T
        promised_K, before_K = (
            tasks.on_all_requests(scores_NT[valued_N].astype(np.float32)) @ values_T
            for scores_NT in (watched.scores_NT, watched.previous_NT)
        )
        gain, loss = (float(np.maximum(sign * values_T, 0).sum()) for sign in (1, -1))
        at_K = np.flatnonzero(valued_N)
        yield _Promise(
            *("reward", "", at_K, value_K, promised_K, before_K),
            *(gain + loss, lambda ratio: (-loss - ratio * gain, gain + ratio * loss)),
            (1 - m, math.inf),
        )


def _weighted(promise: _Promise, watched: Watched) -> _Promise:
    """The promise with rows that stand for many; the greatest weight is one unit."""
    if watched.weights_N is None:
        return promise
    weight_K = watched.weights_N[promise.at_K] / watched.weights_N.max(initial=1.0)
    before_K = promise.before_K
    return replace(
        promise,
        found_K=promise.found_K * weight_K,
        promised_K=promise.promised_K * weight_K,
        before_K=None if before_K is None else before_K * weight_K,
    )


def _look(promise: _Promise, alpha: float) -> Finding:
    """The finding of one promise; rows after the one that broke it are not looked at.

    Args:
        promise: The promise.
        alpha: Error of each of its limits; only one side of each sequence is used.
    """
    found_K, promised_K = promise.found_K, promise.promised_K
    sides = [
        (
            *(ratio, sign, promise.ends(ratio)),
            ConfidenceSequence(*promise.ends(ratio), alpha=2 * alpha, tightest_at=TIGHTEST_AT),
        )
        for ratio, sign in promise.sides()
    ]
    kept, end, bounds = True, 0, (0.0, math.inf)
    for start in range(0, len(found_K), STEP):
        end = min(start + STEP, len(found_K))
        mean = max(float(promised_K[:end].mean()), 1e-12)
        for ratio, sign, ends, sequence in sides:
            excess_K = found_K[start:end] - ratio * promised_K[start:end]
            low, high = sequence.update(np.clip(excess_K, *ends))
            own = (ratio + low / mean, ratio + high / mean)
            bounds = own if start == 0 or sign > 0 else (bounds[0], own[1])
            kept &= not (low > 0 if sign > 0 else high < 0) or _is_market(promise, end)
        if not kept:
            break
    before_K = promised_K if promise.before_K is None else promise.before_K
    return Finding(
        promise=promise.name,
        task=promise.task,
        rows=end,
        passed=int(promise.at_K[end - 1]) + 1 if end else 0,
        kept=kept,
        found=_ratio(found_K[:end], promised_K[:end]),
        before=1.0 if promise.before_K is None else _ratio(found_K[:end], before_K[:end]),
        bounds=bounds,
        allowed=promise.allowed,
    )


def _is_market(promise: _Promise, rows: int) -> bool:
    """Whether the version before is off as well, so that the version is not to blame.

    One unit is added to both sides of the ratios, so that few events, or none, say little.
    """
    if promise.before_K is None:
        return False
    found, promised, before = (
        max(float(values_K[:rows].sum()) / promise.unit, 0.0) + 1.0
        for values_K in (promise.found_K, promise.promised_K, promise.before_K)
    )
    return abs(math.log(found / before)) >= 0.5 * abs(math.log(found / promised))


def _ratio(found_K: Floats, promised_K: Floats) -> float:
    promised = float(promised_K.sum())
    return float(found_K.sum()) / promised if promised > 0 else 0.0


def _log_loss(labels_K: Floats, scores_K: Floats) -> Floats:
    right_K = np.where(labels_K == 1, scores_K, 1.0 - scores_K)
    return -np.log(np.maximum(right_K, LEAST_SCORE))
