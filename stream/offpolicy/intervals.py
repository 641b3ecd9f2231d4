"""Confidence limits of rates, and of weighted sums of independent rates."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
RARE: Final = 0.2
"""Rate of events up to which they count as rare."""
TIGHTEST: Final = 100_000.0
"""Requests at which a confidence sequence is tightest: an hour of a small market."""


def normal_quantile(level: float) -> float:
    """The normal quantile of a two-sided interval of confidence ``level``."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def rate_limits(events_S: Doubles, trials_S: Doubles, level: float) -> tuple[Doubles, Doubles]:
    """Limits of rates, right for few events and for many; [0, 1] without trials.

    Up to a fifth of events (or of trials without one) they are Jeffreys', quantiles of
    Beta(k + 1/2, n - k + 1/2): for rare events close to their level, where those of the score test
    are too wide (Brown, Cai and DasGupta 2001). Otherwise they are those of the score test
    (Wilson 1927).

    Args:
        events_S: Events of each stratum.
        trials_S: Trials of each.
        level: Confidence.
    """
    z = normal_quantile(level)
    quiet_S = trials_S - events_S
    with np.errstate(divide="ignore", invalid="ignore"):
        rate_S = events_S / trials_S
        centre_S = (events_S + z**2 / 2) / (trials_S + z**2)
        half_S = z * np.sqrt(rate_S * (1 - rate_S) * trials_S + z**2 / 4) / (trials_S + z**2)
    rare_S, common_S = events_S <= RARE * trials_S, quiet_S <= RARE * trials_S
    low_S = np.where(
        rare_S,
        _beta_quantile(events_S, quiet_S, -z),
        np.where(common_S, 1 - _beta_quantile(quiet_S, events_S, z), centre_S - half_S),
    )
    high_S = np.where(
        rare_S,
        _beta_quantile(events_S, quiet_S, z),
        np.where(common_S, 1 - _beta_quantile(quiet_S, events_S, -z), centre_S + half_S),
    )
    tried_S = trials_S > 0
    low_S = np.where(tried_S & (events_S > 0), np.clip(low_S, 0, 1), 0.0)
    return low_S, np.where(tried_S & (quiet_S > 0), np.clip(high_S, 0, 1), 1.0)


def _beta_quantile(events_S: Doubles, quiet_S: Doubles, z: float) -> Doubles:
    """Quantile of Beta(events + 1/2, quiet + 1/2) at the normal quantile z, for rare events.

    By Bol'shev's approximation from the quantile of a gamma distribution, and that by Wilson and
    Hilferty's.
    """
    a_S, b_S = events_S + 0.5, quiet_S + 0.5
    gamma_S = a_S * np.maximum(1 - 1 / (9 * a_S) + z / (3 * np.sqrt(a_S)), 0.0) ** 3
    limit_S: Doubles = gamma_S / (b_S + (a_S - 1) / 2 + gamma_S / 2)
    return limit_S


def combine(
    weights_S: Doubles, rates_S: Doubles, low_S: Doubles, high_S: Doubles
) -> tuple[float, float, float]:
    """Value and limits of a weighted sum of independent rates.

    The distances from the rates to their own limits are recovered as standard errors on the side
    where they count, and added in squares (MOVER: Zou and Donner 2008), so that skewed limits of
    rare events stay skewed.

    Returns:
        Value, lower limit, upper limit.
    """
    down_S = np.where(weights_S > 0, rates_S - low_S, high_S - rates_S)
    up_S = np.where(weights_S > 0, high_S - rates_S, rates_S - low_S)
    value = float(weights_S @ rates_S)
    low = value - float(np.sqrt(((weights_S * down_S) ** 2).sum()))
    high = value + float(np.sqrt(((weights_S * up_S) ** 2).sum()))
    return value, low, high


def mixture_radius(count: float, level: float) -> float:
    """Half-width of an asymptotic confidence sequence after ``count`` values of variance 1.

    Tightest near ``TIGHTEST`` values, which must be chosen before any is seen (Waudby-Smith et al.
    2021, eq. 10).
    """
    alpha = 1 - level
    spread = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / TIGHTEST
    inside = count * spread + 1
    return math.sqrt(2 * inside / (count**2 * spread) * math.log(math.sqrt(inside) / alpha))
