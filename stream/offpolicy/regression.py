"""The doubly robust estimate: the artifact's own scores as the model of what was not observed.

The rate of a stratum is corrected for the luck of the draw: where the explored requests happened to
score higher than their stratum, their events are too many by the slope of events on scores
(Robins and Rotnitzky 1995; with strata as intercepts it is the regression estimator of survey
sampling). It is right if the scores are useless, and narrower if they are not.
"""

from typing import Final

import numpy as np

from stream.offpolicy.cells import Cells, Doubles
from stream.offpolicy.intervals import combine, rate_limits
from stream.offpolicy.strata import THIN, Strata, strata_of
from stream.offpolicy.support import Interval, judge

FIT: Final = 20
"""Events, and labelled requests without one, from which a stratum takes part in the fit."""


def doubly_robust(cells: Cells, level: float) -> Interval:
    """The difference in events per request, corrected by scores within strata.

    Args:
        cells: The log and the arms.
        level: Confidence.
    """
    strata = strata_of(cells)
    usable = strata.where(strata.labelled_S >= THIN)
    rate_S, limits_2S = adjusted_rates(usable, level)
    value, low, high = combine(usable.weight_S, rate_S, *limits_2S)
    return judge(strata, usable, value, low, high, level)


def adjusted_rates(strata: Strata, level: float) -> tuple[Doubles, Doubles]:
    """Rates of events of all requests of each stratum, and their limits of shape (2, S)."""
    n_S, events_S = strata.labelled_S, strata.events_S
    rate_S = events_S / n_S
    low_S, high_S = rate_limits(events_S, n_S, level)
    spread_S = np.maximum(strata.squares_S - strata.labelled_scores_S**2 / n_S, 0.0)
    joint_S = strata.event_scores_S - strata.labelled_scores_S * rate_S
    fit_S = (events_S >= FIT) & (n_S - events_S >= FIT) & (spread_S > 1e-9 * n_S)
    importance_S = np.where(fit_S, (strata.weight_S / n_S) ** 2, 0.0)
    total = float((importance_S * spread_S).sum())
    if not total:
        return rate_S, np.stack([low_S, high_S])
    slope = float((importance_S * joint_S).sum()) / total
    drawn_S = strata.scores_S / strata.requests_S - strata.labelled_scores_S / n_S
    before_S = n_S * rate_S * (1 - rate_S)
    after_S = before_S - 2 * slope * joint_S + slope**2 * spread_S
    # one degree of freedom for the slope; never narrower than a perfect model could be
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_S = np.where(fit_S, after_S / before_S * n_S / (n_S - 1), 1.0)
    shrink_S = np.sqrt(np.clip(ratio_S, 0.05, 1.5))
    moved_S = rate_S + np.where(fit_S, slope * drawn_S, 0.0)
    limits_2S = np.stack(
        [moved_S - shrink_S * (rate_S - low_S), moved_S + shrink_S * (high_S - rate_S)]
    )
    return moved_S, limits_2S
