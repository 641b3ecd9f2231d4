"""Quality of a model's scores on requests that passed, from arrays; pure.

All figures are of requests that passed, each counted as often as its weight says. A task's figures
are of its own population, and of labels that are known.

N requests, T tasks, K of N.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from models.data.examples import population_targets
from models.tasks import TaskSet
from trainer.evaluation.metrics import task_metrics

DELAY_QUANTILES: Final = (0.5, 0.9, 0.99)
MIN_POSITIVES: Final = 50
"""Positives and negatives without which no AUC and no calibration are given."""
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LiveRows:
    """Requests that passed, newest snapshot.

    Attributes:
        ts_N: Time of the request, ms.
        features_NC: Feature ids.
        labels_NT: 1, 0, or NaN while the window is open.
        delay_NT: Time from the request to its event, ms; NaN without one.
        weight_N: Number of requests that each row represents.
        reason_N: Why each passed, as the label of a reason.
        watermark_ms: Event time up to which outcomes are known.
    """

    ts_N: npt.NDArray[np.int64]
    features_NC: npt.NDArray[np.int32]
    labels_NT: npt.NDArray[np.float32]
    delay_NT: npt.NDArray[np.float64]
    weight_N: npt.NDArray[np.float64]
    reason_N: npt.NDArray[np.str_]
    watermark_ms: int

    def __len__(self) -> int:
        return len(self.ts_N)


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """Quality of one task's scores.

    Attributes:
        known: Share of the requests whose label is known.
        rows: Requests of the population with a known label that the figures below are of.
        positives: Positives among them.
        label_rate: Share of positives among them; None without rows.
        expected: Mean score of them; None without rows.
        calibration: ``label_rate / expected``: above 1 the model says too little; None where there
            are fewer than :data:`MIN_POSITIVES` positives or negatives.
        error: Standard error of ``calibration`` if the scores are right, by the variance
            ``sum w^2 p (1 - p)``.
        ece: Expected calibration error; None as ``calibration``.
        auc: Area under the ROC curve; None as ``calibration``.
        learned_from: Whether these requests are among those that the model learned from, because
            newer ones have too few labels yet: it then looks better than it is.
        delays_s: Quantiles of the time from a request to its event, in seconds, by
            :data:`DELAY_QUANTILES`; empty without events.
    """

    known: float
    rows: int
    positives: int
    label_rate: float | None
    expected: float | None
    calibration: float | None
    error: float | None
    ece: float | None
    auc: float | None
    learned_from: bool
    delays_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReasonQuality:
    """What passed for one reason.

    Attributes:
        share: Share of all that passed.
        value: Value of its known events per request that passed for it: the sum over the tasks of
            the mean label times the task's value in ``policy.weights``.
    """

    share: float
    value: float


@dataclass(frozen=True, slots=True)
class Quality:
    """All figures of one evaluation.

    Attributes:
        version: Version of the model.
        rows: Number of requests.
        tasks: By task.
        reasons: By reason.
        feature_psi: PSI by feature; empty if the model has no reference.
        score_psi: PSI of scores by task.
    """

    version: str
    rows: int
    tasks: dict[str, TaskQuality]
    reasons: dict[str, ReasonQuality]
    feature_psi: dict[str, float] = field(default_factory=dict)
    score_psi: dict[str, float] = field(default_factory=dict)


def measure_tasks(
    rows: LiveRows, scores_NT: Floats, tasks: TaskSet, learned_until_ms: int
) -> dict[str, TaskQuality]:
    """Quality of each task.

    Args:
        rows: The requests.
        scores_NT: The model's probabilities, each on the task's own population.
        tasks: The tasks.
        learned_until_ms: Time of the newest request that the model learned from.
    """
    targets_NT = population_targets(rows.labels_NT, tasks)
    newer_N = rows.ts_N > learned_until_ms
    return {
        name: _task_quality(rows, scores_NT[:, at], targets_NT[:, at], at, newer_N)
        for at, name in enumerate(tasks.names)
    }


def measure_reasons(
    rows: LiveRows, tasks: TaskSet, values: Mapping[str, float]
) -> dict[str, ReasonQuality]:
    """Share and value of what passed, by reason."""
    total = rows.weight_N.sum()
    found = {}
    for reason in np.unique(rows.reason_N).tolist():
        of_it_N = rows.reason_N == reason
        value = 0.0
        for at, name in enumerate(tasks.names):
            labels_N = rows.labels_NT[:, at]
            known_N = of_it_N & ~np.isnan(labels_N)
            if known_N.any():
                mean = np.average(labels_N[known_N], weights=rows.weight_N[known_N])
                value += values.get(name, 0.0) * float(mean)
        found[reason] = ReasonQuality(float(rows.weight_N[of_it_N].sum() / total), value)
    return found


def _task_quality(
    rows: LiveRows,
    scores_N: Floats,
    targets_N: npt.NDArray[np.float32],
    at: int,
    newer_N: npt.NDArray[np.bool_],
) -> TaskQuality:
    known_N = ~np.isnan(rows.labels_NT[:, at])
    learned_from = not _enough(targets_N[newer_N])
    inside_N = ~np.isnan(targets_N) & (newer_N | learned_from)
    labels_K = targets_N[inside_N].astype(np.int64)
    scores_K = scores_N[inside_N].astype(np.float64)
    weights_K = rows.weight_N[inside_N]
    some = len(labels_K) > 0
    rate = float(np.average(labels_K, weights=weights_K)) if some else None
    expected = float(np.average(scores_K, weights=weights_K)) if some else None
    enough = rate is not None and bool(expected) and _enough(targets_N[inside_N])
    metrics = task_metrics(scores_K, labels_K) if enough else None
    deviation = np.sqrt((weights_K**2 * scores_K * (1 - scores_K)).sum())
    delays_N = rows.delay_NT[:, at]
    delays_s = np.sort(delays_N[~np.isnan(delays_N)]) / 1000
    return TaskQuality(
        known=float(np.average(known_N, weights=rows.weight_N)) if len(rows) else 0.0,
        rows=len(labels_K),
        positives=int(labels_K.sum()),
        label_rate=rate,
        expected=expected,
        calibration=rate / expected if enough and rate is not None and expected else None,
        error=float(deviation / (weights_K * scores_K).sum()) if enough else None,
        ece=metrics.ece if metrics else None,
        auc=metrics.auc_roc if metrics else None,
        learned_from=learned_from and some,
        delays_s=tuple(np.quantile(delays_s, DELAY_QUANTILES).tolist()) if len(delays_s) else (),
    )


def _enough(targets_N: npt.NDArray[np.float32]) -> bool:
    positives, negatives = int((targets_N == 1).sum()), int((targets_N == 0).sum())
    return min(positives, negatives) >= MIN_POSITIVES
