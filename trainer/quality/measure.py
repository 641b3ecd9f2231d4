"""Quality of a model's scores on requests that passed, from arrays; pure.

All figures are of requests that passed, each counted as often as its weight says. A task's figures
are of its own population, and of labels that are final: before, only positives are known, and any
rate of what is known would be too high.

N requests, T tasks, K of N.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.data.examples import population_targets
from models.tasks import TaskSet
from trainer.evaluation.metrics import task_metrics
from trainer.quality.figures import DELAY_QUANTILES, MIN_POSITIVES, ReasonQuality, TaskQuality

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LiveRows:
    """Requests that passed.

    Attributes:
        ts_N: Time of the request, ms.
        labels_NT: 1, 0, or NaN while the window is open.
        final_NT: Whether the window has closed.
        delay_NT: Time from the request to its event, ms; NaN without one.
        weight_N: Number of requests that each row represents.
        reason_N: Why each passed, as the label of a reason.
        scenario_N: Hash of each one's scenario, 0 without one.
    """

    ts_N: npt.NDArray[np.int64]
    labels_NT: npt.NDArray[np.float32]
    final_NT: npt.NDArray[np.bool_]
    delay_NT: npt.NDArray[np.float64]
    weight_N: npt.NDArray[np.float64]
    reason_N: npt.NDArray[np.str_]
    scenario_N: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ts_N)

    def take(self, kept_N: npt.NDArray[np.bool_]) -> "LiveRows":
        """The rows of a mask."""
        return LiveRows(
            self.ts_N[kept_N],
            self.labels_NT[kept_N],
            self.final_NT[kept_N],
            self.delay_NT[kept_N],
            self.weight_N[kept_N],
            self.reason_N[kept_N],
            self.scenario_N[kept_N],
        )


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
    targets_NT[~rows.final_NT] = np.nan
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
            final_N = of_it_N & rows.final_NT[:, at]
            if final_N.any():
                labels_K = rows.labels_NT[final_N, at]
                mean = np.average(labels_K, weights=rows.weight_N[final_N])
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
    delays_N = rows.delay_NT[rows.final_NT[:, at], at]
    delays_s = np.sort(delays_N[~np.isnan(delays_N)]) / 1000
    return TaskQuality(
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
