"""The stratified estimate: exact where the propensities of a log take few values.

Within a stratum (one probability mu that the log passes, one difference d between the arms) the
labelled requests are a simple random sample of all, so its number of events is binomial, and the
number of its requests is known. So neither the weight 1 / mu nor its chance sum enters: the
estimate is sum over strata of d N_s / N times the rate of events, with score limits per stratum,
combined.
"""

from typing import Final

import numpy as np

from stream.offpolicy.cells import Cells, Doubles
from stream.offpolicy.intervals import combine, score_limits
from stream.offpolicy.support import Interval, judge

THIN: Final = 10
"""Labelled requests below which a stratum has no rate of its own."""


def stratified(cells: Cells, level: float) -> Interval:
    """The difference in events per request, by strata of (mu, d).

    Args:
        cells: The log and the arms.
        level: Confidence.
    """
    weight_S, requests_S, labelled_S, events_S = _strata(cells)
    usable_S = labelled_S >= THIN
    tried_S, happened_S = labelled_S[usable_S], events_S[usable_S]
    share_S = weight_S[usable_S]
    low_S, high_S = score_limits(happened_S, tried_S, level)
    value, low, high = combine(share_S, happened_S / tried_S, low_S, high_S)
    ess = _effective(share_S, tried_S)
    missing_S = weight_S[~usable_S]
    gain, loss = float(missing_S[missing_S > 0].sum()), float(missing_S[missing_S < 0].sum())
    supported, why = judge(
        ess,
        int(requests_S.sum()),
        int(requests_S[~usable_S].sum()),
        int(labelled_S.sum()),
    )
    worst, best = low + loss, high + gain
    # a few requests without support have a rate between 0 and the highest that is plausible
    plausible = float(high_S.max(initial=0.0))
    return Interval(
        value, low + loss * plausible, high + gain * plausible, ess, worst, best, supported, why
    )


def _strata(cells: Cells) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Per stratum that differs: d N_s / N, requests, labelled requests, events."""
    d_C = np.round(cells.difference_C, 9)
    keys, place_C = np.unique(np.stack([cells.mu_C, d_C]), axis=1, return_inverse=True)
    place_C = place_C.reshape(-1)
    sums = [
        np.bincount(place_C, values_C, minlength=keys.shape[1])
        for values_C in (cells.requests_C, cells.labelled_C, cells.events_C)
    ]
    differ_S = keys[1] != 0
    requests_S, labelled_S, events_S = (sums_S[differ_S] for sums_S in sums)
    return keys[1][differ_S] * requests_S / max(cells.rows, 1), requests_S, labelled_S, events_S


def _effective(weight_S: Doubles, labelled_S: Doubles) -> float:
    """Kish's effective sample size of labelled requests that weigh ``weight / labelled`` each."""
    squares = float((weight_S**2 / labelled_S).sum())
    return float(np.abs(weight_S).sum()) ** 2 / squares if squares else 0.0
