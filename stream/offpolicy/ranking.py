"""Weighted ranking metrics without scikit-learn: what a replay must not need."""

import numpy as np
import numpy.typing as npt

from stream.offpolicy.cells import Doubles
from stream.offpolicy.intervals import normal_quantile


def roc_auc(scores_N: Doubles, labels_N: Doubles, weights_N: Doubles) -> float | None:
    """Area under the ROC curve; tied scores count half. None without both classes."""
    positive_G, negative_G = _by_score(scores_N, labels_N, weights_N)
    below_G = np.cumsum(negative_G) - negative_G
    pairs = float(positive_G.sum() * negative_G.sum())
    return float(positive_G @ (below_G + negative_G / 2)) / pairs if pairs else None


def average_precision(scores_N: Doubles, labels_N: Doubles, weights_N: Doubles) -> float | None:
    """Area under the precision-recall curve, as a step function. None without positives."""
    positive_G, negative_G = (part_G[::-1] for part_G in _by_score(scores_N, labels_N, weights_N))
    total = float(positive_G.sum())
    if not total:
        return None
    found_G = np.cumsum(positive_G)
    return float(positive_G @ (found_G / (found_G + np.cumsum(negative_G)))) / total


def auc_error(auc: float, labels_N: Doubles, weights_N: Doubles) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982), by effective numbers of either class."""
    positives, negatives = (kish(weights_N[labels_N == label]) for label in (1, 0))
    if positives < 2 or negatives < 2:
        return float("nan")
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (first - auc**2)
    variance += (negatives - 1) * (second - auc**2)
    return float(np.sqrt(max(variance, 0.0) / (positives * negatives)))


def auc_limits(
    auc: float, labels_N: Doubles, weights_N: Doubles, level: float
) -> tuple[float, float]:
    """Confidence limits of an AUC, within [0, 1]; NaN with less than two of either class."""
    radius = normal_quantile(level) * auc_error(auc, labels_N, weights_N)
    return max(auc - radius, 0.0), min(auc + radius, 1.0)


def kish(weights_N: Doubles) -> float:
    """Effective number of rows: as many of equal weight would say as much."""
    squares = float((weights_N**2).sum())
    return float(weights_N.sum()) ** 2 / squares if squares else 0.0


def _by_score(
    scores_N: Doubles, labels_N: Doubles, weights_N: Doubles
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weight of positives and of negatives per distinct score, rising."""
    distinct_G, place_N = np.unique(scores_N, return_inverse=True)
    positive_G = np.bincount(place_N, weights_N * labels_N, minlength=len(distinct_G))
    negative_G = np.bincount(place_N, weights_N * (1 - labels_N), minlength=len(distinct_G))
    return positive_G.astype(np.float64), negative_G.astype(np.float64)
