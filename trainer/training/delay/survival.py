"""The delay law of a task's events, from events that were seen before a row's age.

A delay is seen only if it is shorter than the age of its row, so the sample is truncated on the
right. Reversing time turns that into truncation on the left, for which the product-limit estimate
is the nonparametric maximum likelihood (Lagakos, Barraj and De Gruttola 1988; Woodroofe 1985):

    F(u) = product over event times v > u of (1 - d(v) / R(v)),
    R(v) = number of events with delay <= v <= age, d(v) = those with delay v.

It conditions on the event, so it is right however the rates of events have changed meanwhile, and
young events count as far as their age goes.

E events, K distinct delays, times in ms.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DelayLaw:
    """Distribution function of the delays: a step function.

    Attributes:
        times_K: Distinct delays, ascending.
        shares_K: F at each of them; the last is 1.
    """

    times_K: Floats
    shares_K: Floats

    def __call__(self, ages_N: Floats) -> Floats:
        """Share of the events that happen within each age, in [0, 1]."""
        index_N = np.searchsorted(self.times_K, ages_N, side="right")
        return np.concatenate([[0.0], self.shares_K])[index_N]

    def quantiles(self, shares_Q: Floats) -> Floats:
        """The smallest delays within which at least these shares of the events happen."""
        index_Q = np.searchsorted(self.shares_K, shares_Q, side="left")
        return self.times_K[np.minimum(index_Q, len(self.times_K) - 1)]


def product_limit(delays_E: Floats, ages_E: Floats, weights_E: Floats) -> DelayLaw:
    """Estimate the delay law of right-truncated events.

    Args:
        delays_E: Time from the request to the event.
        ages_E: Age of the row, at least the delay; infinite for a row whose window has closed.
        weights_E: Number of events that each stands for.

    Returns:
        The law, given that an event happens within the longest age; 0 everywhere without events.
    """
    if not len(delays_E):
        return DelayLaw(np.zeros(0), np.zeros(0))
    times_K, which_E = np.unique(delays_E, return_inverse=True)
    at_K = np.bincount(which_E, weights=weights_E, minlength=len(times_K))
    order_E = np.argsort(ages_E, kind="stable")
    below_E = np.concatenate([[0.0], np.cumsum(weights_E[order_E])])
    gone_K = below_E[np.searchsorted(ages_E[order_E], times_K, side="left")]
    at_risk_K = np.cumsum(at_K) - gone_K
    stays_K = 1.0 - at_K / np.maximum(at_risk_K, at_K)
    # F just below the k-th delay and above the one before it: the product from k on.
    below_K = np.cumprod(stays_K[::-1])[::-1]
    return DelayLaw(times_K, np.append(below_K[1:], 1.0))
