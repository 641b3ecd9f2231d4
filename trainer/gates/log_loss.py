"""Paired differences of log-loss: per task, and of all labels together.

l(y, p) = -log p for y = 1, else -log(1 - p), in nats, of scores clipped to [1e-6, 1 - 1e-6]. Given
the scores, a row's difference takes one of two values per task, so that everything but the label is
known in advance (:mod:`trainer.gates.paired`).

The sum over all known labels of a row is its negative log-likelihood, and the difference of these
sums says which model has more information about the labels.

N rows, T tasks.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.tasks import ALL_REQUESTS, TaskSet
from trainer.gates.paired import Differences, Floats

CLIP: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Scored:
    """Held-out rows with the scores of both models.

    Attributes:
        candidate_NT: The candidate's scores, each on its task's own population.
        serving_NT: Those of the serving model.
        labels_NT: Whether the events happened; NaN where unknown.
        tasks: The tasks.
        weights_N: Known weight of each row; None if all are equal.
    """

    candidate_NT: Floats
    serving_NT: Floats
    labels_NT: Floats
    tasks: TaskSet
    weights_N: Floats | None = None

    def known(self, column: int) -> npt.NDArray[np.bool_]:
        """Rows of one task's population whose label is known."""
        population = list(self.tasks)[column].population
        known_N: npt.NDArray[np.bool_] = ~np.isnan(self.labels_NT[:, column])
        if population == ALL_REQUESTS:
            return known_N
        inside_N: npt.NDArray[np.bool_] = self.labels_NT[:, self.tasks.index(population)] == 1
        return known_N & inside_N

    def task(self, column: int) -> "TaskRows":
        """These rows."""
        known_N = self.known(column)
        return TaskRows(
            self.candidate_NT[known_N, column],
            self.serving_NT[known_N, column],
            self.labels_NT[known_N, column],
            None if self.weights_N is None else self.weights_N[known_N],
        )


@dataclass(frozen=True, slots=True)
class TaskRows:
    """Rows of one task: both scores and the known labels, K rows."""

    candidate_K: Floats
    serving_K: Floats
    labels_K: Floats
    weights_K: Floats | None = None

    def __len__(self) -> int:
        return len(self.labels_K)

    @property
    def positives(self) -> int:
        """Number of positives."""
        return int(self.labels_K.sum())

    @property
    def rarer(self) -> int:
        """Number of rows of the rarer class."""
        return min(self.positives, len(self) - self.positives)


def log_loss(scores_K: Floats, labels_K: Floats, weights_K: Floats | None = None) -> float:
    """Mean log-loss, nats; 0 without rows."""
    if not len(labels_K):
        return 0.0
    p_K = np.clip(scores_K, CLIP, 1 - CLIP)
    return float(np.average(-np.log(np.where(labels_K == 1, p_K, 1 - p_K)), weights=weights_K))


def task_differences(rows: TaskRows, margin: float = 0.0) -> Differences:
    """(1 + margin) times the serving model's loss minus the candidate's, per row.

    Its mean is above 0 if the candidate's log-loss is less than ``margin`` (relative) above the
    serving model's.
    """
    points = _TwoPoints.of(rows.candidate_K, rows.serving_K, margin)
    return Differences(
        values_N=points.base_N + points.slope_N * rows.labels_K,
        centres_N=points.mean_N,
        lows_N=points.base_N + np.minimum(points.slope_N, 0.0),
        highs_N=points.base_N + np.maximum(points.slope_N, 0.0),
        variances_N=points.variance_N,
    ).weighted(rows.weights_K)


def joint_differences(scored: Scored) -> Differences:
    """The sum over tasks of the difference in log-loss of all known labels, per row."""
    parts = [_joint_part(scored, column) for column in range(len(scored.tasks))]
    return Differences(
        values_N=np.sum([part.values_N for part in parts], axis=0),
        centres_N=np.sum([part.centres_N for part in parts], axis=0),
        lows_N=np.sum([part.lows_N for part in parts], axis=0),
        highs_N=np.sum([part.highs_N for part in parts], axis=0),
        variances_N=np.sum([part.variances_N for part in parts], axis=0),
    ).weighted(scored.weights_N)


def _joint_part(scored: Scored, column: int) -> Differences:
    """One task's part of the joint difference, 0 where its label is unknown.

    Where the task's population was not reached it is 0, too, which is one of its possible values.
    """
    task = list(scored.tasks)[column]
    points = _TwoPoints.of(scored.candidate_NT[:, column], scored.serving_NT[:, column], 0.0)
    labels_N = scored.labels_NT[:, column]
    known_N = inside_N = ~np.isnan(labels_N)
    reach_N = np.ones(len(labels_N))
    lows_N = points.base_N + np.minimum(points.slope_N, 0.0)
    highs_N = points.base_N + np.maximum(points.slope_N, 0.0)
    if task.population != ALL_REQUESTS:
        above = scored.tasks.index(task.population)
        known_N = known_N & ~np.isnan(scored.labels_NT[:, above])
        inside_N = known_N & (scored.labels_NT[:, above] == 1)
        mean_NT = ((scored.candidate_NT + scored.serving_NT) / 2).astype(np.float32)
        reach_N = scored.tasks.on_all_requests(mean_NT)[:, above].astype(np.float64)
        lows_N, highs_N = np.minimum(lows_N, 0.0), np.maximum(highs_N, 0.0)
    values_N = points.base_N + points.slope_N * np.nan_to_num(labels_N)
    spread_N = reach_N * points.variance_N + reach_N * (1 - reach_N) * points.mean_N**2
    return Differences(
        values_N=np.where(inside_N, values_N, 0.0),
        centres_N=np.where(known_N, reach_N * points.mean_N, 0.0),
        lows_N=np.where(known_N, lows_N, 0.0),
        highs_N=np.where(known_N, highs_N, 0.0),
        variances_N=np.where(known_N, spread_N, 0.0),
    )


@dataclass(frozen=True, slots=True)
class _TwoPoints:
    """The difference as a function of the label: base + slope y, and what scores predict of it."""

    base_N: Floats
    slope_N: Floats
    mean_N: Floats
    variance_N: Floats

    @classmethod
    def of(cls, candidate_N: Floats, serving_N: Floats, margin: float) -> "_TwoPoints":
        """(1 + margin) l(y, serving) - l(y, candidate); the prediction is that of both's mean."""
        c_N, s_N = (np.clip(scores_N, CLIP, 1 - CLIP) for scores_N in (candidate_N, serving_N))
        base_N = np.log1p(-c_N) - (1 + margin) * np.log1p(-s_N)
        slope_N = np.log(c_N) - (1 + margin) * np.log(s_N) - base_N
        p_N = (c_N + s_N) / 2
        return cls(base_N, slope_N, base_N + slope_N * p_N, slope_N**2 * p_N * (1 - p_N))
