"""Estimates by inverse propensities, for logs of any propensities.

Each labelled request counts pi / mu times: as often as the arm would pass it, over as often as the
log did. IPS (Horvitz and Thompson 1952) sums that; the self-normalised estimate (Hajek 1971,
Swaminathan and Joachims 2015) divides by the weights' own sum and multiplies by what that should
be, the share of requests that the arm passes; the switch estimate (Wang, Agarwal and Dudik 2017)
takes the artifact's scores where a weight would be large. Labels exist for passes only, and a block
has no events, so weights are summed over passes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream.offpolicy.cells import Cells, Doubles
from stream.offpolicy.intervals import mixture_radius, normal_quantile
from stream.offpolicy.strata import judged_strata
from stream.offpolicy.support import MIN_ESS, Interval, judge

REPLICATES: Final = 1000
_BLOCK: Final = 2_000_000
"""Draws of the bootstrap in memory at a time."""
MAX_WEIGHT: Final = 20.0
"""Weight 1 / mu above which the switch estimate asks the scores instead."""
MIN_EVENTS: Final = 5
"""Events below which a bootstrap says nothing: it cannot draw what never happened."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Labelled requests of C cells with the weights of two arms; arrays of shape (C,).

    Attributes:
        labelled_C: Number of labelled requests.
        events_C: Number of those whose event happened.
        a_C: Weight of each for arm a, pi_a / mu.
        b_C: Weight for arm b; 0 for one that passes nothing.
        share_a: What the weights of a add up to in expectation, per request.
        share_b: The same of b.
        requests: Number of requests, labelled or not.
    """

    labelled_C: Doubles
    events_C: Doubles
    a_C: Doubles
    b_C: Doubles
    share_a: float
    share_b: float
    requests: float

    @classmethod
    def of(cls, cells: Cells) -> "Weights":
        """The weights of the cells that the log can pass."""
        can_C = cells.mu_C > 0
        mu_C, rows = cells.mu_C[can_C], max(cells.rows, 1)
        return cls(
            cells.labelled_C[can_C],
            cells.events_C[can_C],
            cells.pi_a_C[can_C] / mu_C,
            cells.pi_b_C[can_C] / mu_C,
            float((cells.pi_a_C * cells.requests_C)[can_C].sum()) / rows,
            float((cells.pi_b_C * cells.requests_C)[can_C].sum()) / rows,
            rows,
        )


def inverse_propensity(weights: Weights, level: float) -> tuple[float, float, float]:
    """IPS and its normal limits: value, low, high."""
    d_C = weights.a_C - weights.b_C
    value = float(d_C @ weights.events_C) / weights.requests
    error = float(np.sqrt((d_C**2) @ weights.events_C)) / weights.requests
    z = normal_quantile(level)
    return value, value - z * error, value + z * error


def self_normalised(
    weights: Weights, level: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Self-normalised IPS with the percentiles of a Poisson bootstrap: value, low, high."""
    quiet_C = weights.labelled_C - weights.events_C
    value = _normalised(weights, weights.events_C[None], weights.labelled_C[None])[0]
    values_R = np.empty(REPLICATES)
    for block in np.array_split(values_R, max(1, REPLICATES * len(quiet_C) // _BLOCK)):
        events_RC = rng.poisson(weights.events_C, (len(block), len(quiet_C))).astype(np.float64)
        quiet_RC = rng.poisson(quiet_C, (len(block), len(quiet_C)))
        block[:] = _normalised(weights, events_RC, events_RC + quiet_RC)
    low, high = np.quantile(values_R, [0.5 - level / 2, 0.5 + level / 2])
    return float(value), float(low), float(high)


def _normalised(weights: Weights, events_RC: Doubles, labelled_RC: Doubles) -> Doubles:
    values_R = np.zeros(len(events_RC))
    for sign, weight_C, share in (
        (1, weights.a_C, weights.share_a),
        (-1, weights.b_C, weights.share_b),
    ):
        total_R = labelled_RC @ weight_C
        values_R += sign * share * (events_RC @ weight_C) / np.where(total_R > 0, total_R, 1.0)
    return values_R


def switch(cells: Cells, level: float) -> tuple[float, float, float, int]:
    """Switch: value, low, high, and the number of requests that only the scores speak for.

    The interval knows chance, not how wrong the scores are.
    """
    d_C, mu_C = cells.difference_C, cells.mu_C
    differs_C = d_C != 0
    seen_C = differs_C & (mu_C * MAX_WEIGHT >= 1.0)
    weight_C = np.where(seen_C, d_C / np.where(seen_C, mu_C, 1.0), 0.0)
    modelled_C = differs_C & ~seen_C
    scored = float((d_C * cells.scores_C)[modelled_C].sum())
    rows = max(cells.rows, 1)
    value = (float(weight_C @ cells.events_C) + scored * _scale(cells)) / rows
    error = float(np.sqrt((weight_C**2) @ cells.events_C)) / rows
    z = normal_quantile(level)
    only = int(cells.requests_C[modelled_C].sum())
    return value, value - z * error, value + z * error, only


def _scale(cells: Cells) -> float:
    """Events per score among the labelled: calibrates the scores on average."""
    total = float(cells.labelled_scores_C.sum())
    return float(cells.events_C.sum()) / total if total > 0 else 0.0


def sequence(weights: Weights, level: float) -> tuple[float, float, float]:
    """IPS with the limits of a confidence sequence: valid however often one looks.

    Asymptotic, by the mixture of normals (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021).
    """
    d_C = weights.a_C - weights.b_C
    value = float(d_C @ weights.events_C) / weights.requests
    variance = float((d_C**2) @ weights.events_C) / weights.requests
    radius = float(np.sqrt(variance)) * mixture_radius(weights.requests, level)
    return value, value - radius, value + radius


def refused_or(
    cells: Cells, found: tuple[float, float, float], level: float, why: str = ""
) -> Interval:
    """An interval of weighted requests; refused where the log does not support it."""
    strata = judged_strata(cells)
    usable = strata.where(strata.labelled_S > 0)
    value, low, high = found
    judged = judge(strata, usable, value, low, high, level)
    if why:
        return Interval(
            value, low, high, judged.ess, judged.worst, judged.best, judged.supported, why
        )
    return judged


def bandit_value(
    weights_N: Doubles, events_N: Doubles, level: float, rng: np.random.Generator
) -> Interval:
    """Value of a policy from any logged bandit: events per request, self-normalised.

    Args:
        weights_N: Probability of the logged action under the policy, over the log's.
        events_N: Whether the event happened, 0 or 1.
        level: Confidence.
        rng: Draws of the bootstrap.

    Returns:
        The interval; refused, with 0 and 1 as bounds, if too few rows or events carry the weight.
    """
    ones_N = np.ones(len(weights_N))
    rows = Weights(ones_N, events_N, weights_N, 0 * ones_N, 1.0, 0.0, len(weights_N))
    squares = float((weights_N**2).sum())
    ess = float(weights_N.sum()) ** 2 / squares if squares else 0.0
    events = int(events_N.sum())
    value, low, high = self_normalised(rows, level, rng)
    supported = ess >= MIN_ESS and events >= MIN_EVENTS
    why = (
        f"{len(weights_N):,} logged rows speak for the policy like {ess:.0f} of its own, with "
        f"{events} events"
    )
    if not supported:
        why += f"; at least {MIN_ESS:.0f} and {MIN_EVENTS} are needed"
    bounds = (low, high) if supported else (0.0, 1.0)
    return Interval(value, low, high, ess, *bounds, supported, why)
