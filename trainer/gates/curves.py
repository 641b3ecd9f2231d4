"""Paired differences of AUC-PR and calibration error, with intervals by a paired bootstrap.

Both are functions of all rows together, so no exact bound at hand is narrow enough. The rows are
resampled with the same independent Poisson(1) counts for both models (Chamandy et al. 2012, the
Poisson bootstrap); the standard deviation of the difference over the replicates is its standard
error, and the bounds are estimate -+ z_(1 - alpha) times it. That is an approximation for many
rows, in contrast to :mod:`trainer.gates.paired`, so these gates need a minimum of positives, too.

The replicates only weigh rows anew, so scores are sorted once.

K rows of one task, B replicates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from trainer.gates.log_loss import TaskRows
from trainer.gates.paired import Floats, Interval

REPLICATES: Final = 100
BINS: Final = 15
Order = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of both models, and their difference.

    Attributes:
        candidate: The candidate's.
        serving: The serving model's.
        difference: Candidate minus serving.
        error: Standard error of the difference.
    """

    candidate: float
    serving: float
    difference: float
    error: float

    def interval(self, alpha: float) -> Interval:
        """The difference with one-sided bounds, each at level alpha."""
        radius = -float(ndtri(alpha)) * self.error
        return Interval(self.difference, self.difference - radius, self.difference + radius)


def average_precision(rows: TaskRows, seed: int) -> Figure:
    """AUC-PR as average precision: mean over positives of the precision at their score.

    Rows of equal score are one threshold, as in scikit-learn.
    """
    return _compared(rows, _average_precision, seed)


def calibration_error(rows: TaskRows, seed: int) -> Figure:
    """Expected calibration error over 15 bins of equal count, in units of the label rate.

    It is the mean distance between score and share of positives per bin, divided by the share of
    positives of all rows, so that one limit suits frequent and rare events.
    """
    return _compared(rows, _calibration_error, seed)


Statistic = Callable[[Floats, Floats], Callable[[Floats], float]]


def _compared(rows: TaskRows, statistic: Statistic, seed: int) -> Figure:
    weights_K = np.ones(len(rows)) if rows.weights_K is None else rows.weights_K
    new, old = (
        statistic(scores_K, rows.labels_K) for scores_K in (rows.candidate_K, rows.serving_K)
    )
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(REPLICATES):
        counts_K = rng.poisson(1.0, len(rows)) * weights_K
        differences.append(new(counts_K) - old(counts_K))
    candidate, serving = new(weights_K), old(weights_K)
    error = float(np.std(differences, ddof=1))
    return Figure(candidate, serving, candidate - serving, error)


def _average_precision(scores_K: Floats, labels_K: Floats) -> Callable[[Floats], float]:
    order_K = np.argsort(-scores_K, kind="stable")
    positive_K = labels_K[order_K] == 1
    sorted_K = scores_K[order_K]
    ends_G = np.flatnonzero(np.append(sorted_K[1:] != sorted_K[:-1], True))

    def of(weights_K: Floats) -> float:
        w_K = weights_K[order_K]
        all_G = np.cumsum(w_K)[ends_G]
        hits_G = np.cumsum(np.where(positive_K, w_K, 0.0))[ends_G]
        if not hits_G[-1] > 0:
            return 0.0
        precision_G = hits_G / np.maximum(all_G, 1e-300)
        return float((np.diff(hits_G, prepend=0.0) * precision_G).sum() / hits_G[-1])

    return of


def _calibration_error(scores_K: Floats, labels_K: Floats) -> Callable[[Floats], float]:
    order_K = np.argsort(scores_K, kind="stable")
    starts_B = np.unique(np.linspace(0, len(scores_K), BINS + 1).astype(np.intp))[:-1]
    gaps_K, y_K = (scores_K - labels_K)[order_K], labels_K[order_K]

    def of(weights_K: Floats) -> float:
        w_K = weights_K[order_K]
        positives = float((w_K * y_K).sum())
        if not positives > 0:
            return 0.0
        return float(np.abs(np.add.reduceat(w_K * gaps_K, starts_B)).sum() / positives)

    return of
