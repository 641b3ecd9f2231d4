"""Bounds of a mean paired difference on held-out rows, without asymptotics.

Candidate and serving model score the same N held-out rows, both without having seen their labels.
Given the features and scores of all rows, the difference X_i of row i is a known function of its
labels with known smallest and largest values. The target is the mean over these rows of the
conditional expectations E[X_i | labels before row i, all features]: how much better the candidate
is on this traffic, whatever its labels came out as. Rows need not be independent nor identically
distributed, and the traffic may drift.

For one lambda > 0, fixed before the labels are looked at,

    exp(lambda sum_{i <= t} (X_i - E[X_i | past]) - sum_{i <= t} C_i(lambda))

is a supermartingale of mean at most 1 for either cost of a row:

- C_i = psi_E(lambda c_i) / c_i^2 (X_i - Xhat_i)^2, psi_E(x) = -log(1 - x) - x, lambda c_i < 1,
where
  Xhat_i is a prediction from scores and c_i = Xhat_i - min X_i (Fan, Grama and Liu 2015; the
  exponential supermartingale of Theorem 4 of Howard et al. 2021);
- C_i = lambda^2 (max X_i - min X_i)^2 / 8 (Hoeffding's lemma).

Each row takes the one that scores predict to be smaller: few rows have a wide range, and these do
not widen the bound of the others. By Ville's inequality, with probability 1 - alpha at all t,

    (1/t) sum E[X_i | past] >= (1/t) (sum X_i - (sum C_i + log(1/alpha)) / lambda).

So it may be looked at after every row. lambda is the one that makes the bound at the last row
tightest according to the scores' own probabilities; wrong probabilities cost power, not validity.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
GRID: Final = np.geomspace(1 / 16, 4, 25)
"""Multiples of the Gaussian optimum among which lambda is chosen."""
PLANNED: Final = 5_000
"""Rows, evenly spread, that lambda is chosen on."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between candidate and serving model, positive where the candidate is better.

    All but the first field are functions of features and scores alone.

    Attributes:
        values_N: X_i, given the labels.
        centres_N: Predicted X_i, between the following two.
        lows_N: Smallest possible X_i.
        highs_N: Largest possible X_i.
        variances_N: Predicted variance of X_i.
    """

    values_N: Floats
    centres_N: Floats
    lows_N: Floats
    highs_N: Floats
    variances_N: Floats

    def __len__(self) -> int:
        return len(self.values_N)

    def weighted(self, weights_N: npt.NDArray[np.floating] | None) -> Self:
        """With known weights per row, such as inverse propensities; scaled to a mean of 1."""
        if weights_N is None or not len(self):
            return self
        w_N = np.asarray(weights_N, np.float64)
        w_N = w_N / w_N.mean()
        return replace(
            self,
            values_N=self.values_N * w_N,
            centres_N=self.centres_N * w_N,
            lows_N=self.lows_N * w_N,
            highs_N=self.highs_N * w_N,
            variances_N=self.variances_N * w_N**2,
        )

    def negated(self) -> Self:
        """Positive where the serving model is better."""
        return replace(
            self,
            values_N=-self.values_N,
            centres_N=-self.centres_N,
            lows_N=-self.highs_N,
            highs_N=-self.lows_N,
        )

    def predicted_radius(self, alpha: float) -> float:
        """Distance from estimate to bound that scores alone predict, for all rows."""
        total = float(self.variances_N.sum())
        return math.sqrt(2 * total * math.log(1 / alpha)) / max(len(self), 1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean paired difference with one-sided bounds, each at level alpha.

    Attributes:
        estimate: Mean of the observed differences.
        low: Lower bound.
        high: Upper bound.
    """

    estimate: float
    low: float
    high: float


def interval(differences: Differences, alpha: float) -> Interval:
    """Bounds of the mean conditional expectation; infinite without rows."""
    if not len(differences):
        return Interval(0.0, -math.inf, math.inf)
    return Interval(
        estimate=float(differences.values_N.mean()),
        low=float(lower_path(differences, alpha)[-1]),
        high=-float(lower_path(differences.negated(), alpha)[-1]),
    )


def lower_path(differences: Differences, alpha: float) -> Floats:
    """Lower bound after each row, all valid at once; lambda is planned for the last row."""
    rate = _rate(differences, alpha)
    if rate == 0.0:  # no row can differ from its prediction
        totals_N = np.cumsum(differences.values_N)
    else:
        costs_N = _costs(differences, rate, differences.values_N - differences.centres_N)
        spent_N = np.cumsum(costs_N) + math.log(1 / alpha)
        totals_N = np.cumsum(differences.values_N) - spent_N / rate
    path_N: Floats = totals_N / np.arange(1, len(differences) + 1)
    return path_N


def _rate(differences: Differences, alpha: float) -> float:
    """The lambda whose predicted bound is tightest."""
    step = max(len(differences) // PLANNED, 1)
    some = Differences(
        differences.values_N[::step],
        differences.centres_N[::step],
        differences.lows_N[::step],
        differences.highs_N[::step],
        differences.variances_N[::step],
    )
    scale = len(differences) / len(some)
    total = float(some.variances_N.sum()) * scale
    if not total > 0:
        widest = float((differences.highs_N - differences.lows_N).max())
        return 1.0 / widest if widest > 0 else 0.0
    log = math.log(1 / alpha)
    rates = math.sqrt(2 * log / total) * GRID
    deviations_N = np.sqrt(some.variances_N)
    slack = [(log + scale * _costs(some, rate, deviations_N).sum()) / rate for rate in rates]
    return float(rates[int(np.argmin(slack))])


def _costs(differences: Differences, rate: float, deviations_N: Floats) -> Floats:
    """C_i at lambda = ``rate``, for these deviations from the centres.

    Which of both kinds a row has depends on its predicted variance, not on its deviation.
    """
    reach_N = rate * np.maximum(differences.centres_N - differences.lows_N, 0.0)
    ranges_N = differences.highs_N - differences.lows_N
    hoeffding_N: Floats = rate**2 * ranges_N**2 / 8
    factor_N = np.where(reach_N < 0.95, _psi_ratio(np.minimum(reach_N, 0.95)), np.inf)
    with np.errstate(invalid="ignore"):
        predicted_N = rate**2 * factor_N * differences.variances_N
    bernstein_N = predicted_N <= hoeffding_N  # false for NaN
    chosen_N = np.where(bernstein_N, factor_N, 0.0)
    return np.where(bernstein_N, rate**2 * chosen_N * deviations_N**2, hoeffding_N)


def _psi_ratio(x_N: Floats) -> Floats:
    """psi_E(x) / x^2, which is 1/2 at 0."""
    small_N = x_N < 1e-3
    safe_N = np.where(small_N, 0.5, x_N)
    exact_N = (-np.log1p(-safe_N) - safe_N) / safe_N**2
    return np.where(small_N, 0.5 + x_N / 3 + x_N**2 / 4, exact_N)
