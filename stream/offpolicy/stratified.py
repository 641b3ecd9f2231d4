"""The stratified estimate: exact where the propensities of a log take few values.

The labelled requests of a stratum are a simple random sample of it, so its number of events is
binomial, and the number of its requests is known. So neither the weight 1 / mu nor its chance sum
enters: the estimate is the sum over strata of d N_s / N times the rate of events, with the limits
of a binomial rate per stratum, combined.
"""

from stream.offpolicy.cells import Cells
from stream.offpolicy.intervals import combine, rate_limits
from stream.offpolicy.strata import THIN, strata_of
from stream.offpolicy.support import Interval, judge


def stratified(cells: Cells, level: float) -> Interval:
    """The difference in events per request, by strata of (mu, d).

    Args:
        cells: The log and the arms.
        level: Confidence.
    """
    strata = strata_of(cells)
    usable = strata.where(strata.labelled_S >= THIN)
    low_S, high_S = rate_limits(usable.events_S, usable.labelled_S, level)
    rate_S = usable.events_S / usable.labelled_S
    value, low, high = combine(usable.weight_S, rate_S, low_S, high_S)
    return judge(strata, usable, value, low, high, level)
