"""Confidence sequence: bounds of a mean that hold at all times at once.

An ordinary confidence interval is valid at one sample size that was fixed in advance. Looked at
after every batch, it excludes the true mean sooner or later. A confidence sequence covers it at all
sample sizes simultaneously with probability 1 - alpha, so that it can be watched continuously and
acted on at any moment.

The values X_1, X_2, ... lie in a known range and may depend on each other and drift. Covered is the
average of their conditional means, mu_t = (1/t) sum_i E[X_i | X_1 .. X_{i-1}]; for
independent values of one distribution this is its mean. The bound is the empirical Bernstein
confidence sequence of Howard, Ramdas, McAuliffe and Sekhon (2021), "Time-uniform, nonparametric,
nonasymptotic confidence sequences", Annals of Statistics 49(2), Theorem 4:

    | (1/t) sum_i X_i - mu_t | < u(V_t) / t   for all t,   V_t = sum_i (X_i - Xhat_i)^2,

where Xhat_i is the mean of the values before X_i, and u the gamma-exponential mixture boundary
(Proposition 9 there) for each side at level alpha / 2. Its width falls as sqrt(V_t log V_t) / t, so
values with a small variance in a wide range have narrow bounds.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of the mean.

    Attributes:
        lower: Lower bound.
        mean: Mean of the values so far; the middle of the range before the first.
        upper: Upper bound.
        count: Number of values so far.
    """

    lower: float
    mean: float
    upper: float
    count: int


@dataclass(frozen=True, slots=True)
class State:
    """All that a sequence remembers of its values, scaled to [0, 1]; to go on after a restart.

    Attributes:
        count: Number of values.
        total: Their sum.
        variance: V_t, the sum of squared distances from the mean of the values before.
    """

    count: int = 0
    total: float = 0.0
    variance: float = 0.0


class ConfidenceSequence:
    """Bounds of the mean of values in a known range, valid at all times at once.

    How the values are divided into batches does not change the bounds.

    Args:
        low: Smallest possible value.
        high: Largest possible value.
        alpha: Probability that the bounds ever exclude the mean, on either side.
        tightest_at: V_t, in units of the squared range, at which the bounds are to be narrowest:
            number of values times their variance. It does not affect validity, and elsewhere the
            bounds are a little wider: by a tenth at a tenth or the tenfold of it.
        state: State to go on from.

    Raises:
        ValueError: If the range is empty, or alpha or ``tightest_at`` is out of range.
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        alpha: float = 0.05,
        tightest_at: float = 100.0,
        state: State = State(),
    ) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low = {low}, high = {high}: the range of the values is empty")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha = {alpha}: a probability between 0 and 1 is needed")
        if not tightest_at > 0:
            raise ValueError(f"tightest_at = {tightest_at}: it must be above 0")
        self._low, self._range = low, high - low
        self._log = math.log(2 / alpha)
        self._rho = tightest_at / (2 * self._log + math.log1p(2 * self._log))
        self._state = state

    @property
    def state(self) -> State:
        """The state after the last update."""
        return self._state

    def update(self, values_N: npt.ArrayLike) -> tuple[float, float]:
        """Take further values into account, and return the lower and the upper bound.

        Raises:
            ValueError: If a value is outside the range or not a number; none of them counts then.
        """
        x_N = (np.asarray(values_N, np.float64).ravel() - self._low) / self._range
        slack = 1e-9  # a value computed as an end of the range may miss it by rounding
        if len(x_N) and not (x_N.min() >= -slack and x_N.max() <= 1 + slack):
            raise ValueError(
                f"values from {np.min(values_N)} to {np.max(values_N)}: the range is "
                f"[{self._low}, {self._low + self._range}]"
            )
        if len(x_N):
            self._state = _after(self._state, np.clip(x_N, 0.0, 1.0))
        bounds = self.bounds()
        return bounds.lower, bounds.upper

    def bounds(self) -> Bounds:
        """The bounds now; before the first value, the range."""
        state = self._state
        if not state.count:
            mean, radius = 0.5, 1.0
        else:
            mean = state.total / state.count
            radius = boundary(state.variance, self._rho, self._log) / state.count
        return Bounds(
            lower=self._low + self._range * max(mean - radius, 0.0),
            mean=self._low + self._range * mean,
            upper=self._low + self._range * min(mean + radius, 1.0),
            count=state.count,
        )


def _after(state: State, x_N: Floats) -> State:
    """The state after further values; the prediction of the first of all is the middle."""
    counts_N = state.count + np.arange(len(x_N))
    totals_N = state.total + np.concatenate([[0.0], np.cumsum(x_N)])
    predicted_N = np.where(counts_N == 0, 0.5, totals_N[:-1] / np.maximum(counts_N, 1))
    return State(
        count=state.count + len(x_N),
        total=float(totals_N[-1]),
        variance=state.variance + float(((x_N - predicted_N) ** 2).sum()),
    )


def boundary(variance: float, rho: float, log_inverse_alpha: float) -> float:
    """u(v): the sum at which the mixture reaches 1 / alpha, for values within [0, 1]."""
    from scipy.optimize import brentq  # noqa: PLC0415 - a third of the trainer's start

    def excess(total: float) -> float:
        return log_mixture(total, variance, rho) - log_inverse_alpha

    top = math.sqrt(2 * (variance + rho) * log_inverse_alpha) + log_inverse_alpha + 1.0
    while excess(top) < 0:
        top *= 2
    return float(brentq(excess, 0.0, top, xtol=1e-9 * top))


def log_mixture(total: float, variance: float, rho: float) -> float:
    """Logarithm of the gamma-exponential mixture m(s, v) with scale c = 1 (Proposition 9).

    exp(lambda s - v psi_E(lambda)), psi_E(lambda) = -log(1 - lambda) - lambda, averaged over
    lambda: 1 - lambda has a gamma density of shape and rate rho, truncated to [0, 1].
    """
    from scipy.special import gammainc, gammaln  # noqa: PLC0415

    shape, rate = variance + rho, total + variance + rho
    return float(
        rho * math.log(rho)
        - gammaln(rho)
        - math.log(gammainc(rho, rho))
        + gammaln(shape)
        + math.log(gammainc(shape, rate))
        - shape * math.log(rate)
        + total
        + variance
    )
