"""Measures as pure functions of arrays: error finding, passing, residuals, rejection.

N requests; ``p`` the model's probabilities of one task, ``u`` their uncertainties, ``error`` the
true error |p - p_true|, ``value`` the value of a request downstream (deals, or their true
probability). Ties are ranked in the order of the rows.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BINS = 50
"""Bins of equal count and nearly equal p. With fewer bins, an error that grows with p still shows
in the widest of them: u = p reaches 0.10 with 20 bins and 0.04 with 50."""
MIN_BIN = 20
WORST = 0.1
TINY = 1e-12


class Auc(NamedTuple):
    """AUC-ROC and AUC-PR; NaN if the rows have one class only."""

    roc: float
    pr: float


class Passed(NamedTuple):
    """Masks of the requests that pass directly by uncertainty, and by score."""

    direct_N: Mask
    scored_N: Mask


class Agreement(NamedTuple):
    """Agreement with sets of weight samples, and of these sets with each other.

    Attributes:
        value: Mean agreement with the sets.
        ceiling: Mean agreement of the pairs of sets.
        low: Least agreement of a pair.
        high: Greatest agreement of a pair.
    """

    value: float
    ceiling: float
    low: float
    high: float

    @property
    def of_ceiling(self) -> float:
        """Value over ceiling; NaN without a ceiling."""
        return self.value / self.ceiling if self.ceiling else float("nan")


def top(values_N: Float64Array, count: int) -> Mask:
    """Mask of the ``count`` largest values."""
    chosen_N = np.zeros(len(values_N), np.bool_)
    chosen_N[np.argsort(-values_N, kind="stable")[:count]] = True
    return chosen_N


def within_bins(
    u_N: Float64Array, error_N: Float64Array, p_N: Float64Array, bins: int = BINS
) -> float:
    """Rank correlation of u and error, averaged over bins of nearly equal p.

    Over all requests u can correlate with the error because both follow p. Within a bin p is
    nearly constant, so only the information of u beyond the score counts.
    """
    parts = np.array_split(np.argsort(p_N, kind="stable"), min(bins, max(len(p_N) // MIN_BIN, 1)))
    return float(np.mean([_rank_correlation(u_N[part], error_N[part]) for part in parts]))


def _rank_correlation(a_K: Float64Array, b_K: Float64Array) -> float:
    """The same as :func:`trainer.evaluation.metrics.spearman`, faster on few rows."""
    ranks_2K = rankdata(np.stack([a_K, b_K]), axis=1)
    ranks_2K -= ranks_2K.mean(axis=1, keepdims=True)
    spreads_2 = np.sqrt((ranks_2K**2).sum(axis=1))
    return float((ranks_2K[0] @ ranks_2K[1]) / spreads_2.prod()) if spreads_2.all() else 0.0


def worst_auroc(u_N: Float64Array, error_N: Float64Array, share: float = WORST) -> float:
    """AUC-ROC of u for the ``share`` of requests with the largest errors."""
    worst_N = top(error_N, max(round(share * len(error_N)), 1))
    return float(roc_auc_score(worst_N, u_N))


def poor_ratio(values_N: Float64Array, poor_N: Mask) -> float:
    """Mean in data-poor segments over the mean elsewhere; NaN if one is empty or the latter 0."""
    if poor_N.all() or not poor_N.any() or values_N[~poor_N].mean() == 0:
        return float("nan")
    return float(values_N[poor_N].mean() / values_N[~poor_N].mean())


def overlap(a_N: Float64Array, b_N: Float64Array, share: float = WORST) -> float:
    """Overlap of the ``share`` largest values of ``a`` and of ``b``, from 0 to 1."""
    count = max(round(share * len(a_N)), 1)
    return float((top(a_N, count) & top(b_N, count)).sum() / count)


def agreement(
    measure: Callable[[Float64Array, Float64Array], float],
    u_N: Float64Array,
    sets: Sequence[Float64Array],
) -> Agreement:
    """Agreement of ``u_N`` with independent sets of weight samples.

    Args:
        measure: Measure of two uncertainties, such as rank correlation or :func:`overlap`.
        u_N: Uncertainties of requests.
        sets: Uncertainties by each set of samples, at least two sets, each (N,).
    """
    pairs = [measure(*pair) for pair in combinations(sets, 2)]
    value = fmean(measure(u_N, each_N) for each_N in sets)
    return Agreement(value, fmean(pairs), min(pairs), max(pairs))


def pass_fixed(score_N: Float64Array, u_N: Float64Array, rate: float, share: float) -> Passed:
    """Passes with direct passes inside the budget: (1 - rate) N pass, whatever the share."""
    budget = round((1 - rate) * len(score_N))
    direct_N = top(u_N, min(round(share * len(u_N)), budget))
    rest_N = np.where(direct_N, -np.inf, score_N)
    return Passed(direct_N, top(rest_N, budget - int(direct_N.sum())))


def pass_growing(score_N: Float64Array, u_N: Float64Array, rate: float, share: float) -> Passed:
    """Passes as in the paper: the score's threshold stays, and direct passes are added."""
    direct_N = top(u_N, round(share * len(u_N)))
    return Passed(direct_N, top(score_N, round((1 - rate) * len(score_N))) & ~direct_N)


def kept(passed: Passed, value_N: Float64Array) -> float:
    """Share of the total value that passes."""
    return float(value_N[passed.direct_N | passed.scored_N].sum() / max(value_N.sum(), TINY))


def deals_by_direct_deals(
    score_N: Float64Array,
    u_N: Float64Array,
    value_N: Float64Array,
    rate: float,
    direct_share: float,
) -> float:
    """Share of the remaining deals that the score passes, after a share of all passed directly.

    Requests pass directly in order of u until they hold ``direct_share`` of all deals (Figure 2d).
    """
    order_N = np.argsort(-u_N, kind="stable")
    reached_N = np.cumsum(value_N[order_N]) / max(value_N.sum(), TINY)
    count = int(np.searchsorted(reached_N, direct_share)) + 1 if direct_share else 0
    direct_N = top(u_N, count)
    scored_N = top(score_N, round((1 - rate) * len(score_N))) & ~direct_N
    rest = float(value_N[~direct_N].sum())
    return float(value_N[scored_N].sum() / rest) if rest else float("nan")


def auc(p_N: Float64Array, labels_N: Float64Array) -> Auc:
    """AUC-ROC and AUC-PR over the rows with a label."""
    known_N = ~np.isnan(labels_N)
    labels_N, p_N = labels_N[known_N], p_N[known_N]
    if not 0 < labels_N.sum() < len(labels_N):
        return Auc(float("nan"), float("nan"))
    return Auc(float(roc_auc_score(labels_N, p_N)), float(average_precision_score(labels_N, p_N)))


def residual(p_N: Float64Array, labels_N: Float64Array, u_N: Float64Array, ratio: float) -> Auc:
    """Areas of the score on the rest, once the most uncertain ``ratio`` has passed (Table II).

    Rows without a label are ignored, in the ratio and in the areas.
    """
    known_N = ~np.isnan(labels_N)
    p_N, labels_N, u_N = p_N[known_N], labels_N[known_N], u_N[known_N]
    rest_N = ~top(u_N, round(ratio * len(u_N)))
    return auc(p_N[rest_N], labels_N[rest_N])


def log_loss_of(p_N: Float64Array, labels_N: Float64Array) -> Float64Array:
    """Cross-entropy of each request, nats."""
    p_N = np.clip(p_N, 1e-7, 1 - 1e-7)
    return -(labels_N * np.log(p_N) + (1 - labels_N) * np.log(1 - p_N))


def rejection_curve(u_N: Float64Array, risk_N: Float64Array) -> Float64Array:
    """Mean risk of the n requests with the least u, for n = 1 to N."""
    trusted_N = risk_N[np.argsort(u_N, kind="stable")]
    return np.asarray(np.cumsum(trusted_N) / np.arange(1, len(trusted_N) + 1))


def aurc(u_N: Float64Array, risk_N: Float64Array) -> float:
    """Area under the risk-coverage curve (Geifman et al. 2019); smaller is better."""
    return float(rejection_curve(u_N, risk_N).mean())


def rejection_ratio(u_N: Float64Array, risk_N: Float64Array) -> float:
    """Prediction-rejection ratio (Malinin et al. 2020): 1 for the risk itself, 0 for chance.

    A random order has the mean risk at every coverage.
    """
    chance, best = float(risk_N.mean()), aurc(risk_N, risk_N)
    return (chance - aurc(u_N, risk_N)) / (chance - best) if chance > best else 0.0


def distance(a_N: npt.NDArray[np.floating], b_N: npt.NDArray[np.floating]) -> float:
    """Largest distance between two distribution functions (Kolmogorov-Smirnov)."""
    return float(ks_2samp(a_N, b_N, method="asymp").statistic)
