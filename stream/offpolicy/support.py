"""What a log supports: confidence intervals of a figure, and the words that refuse one."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream.offpolicy.cells import Doubles
from stream.offpolicy.strata import Strata, effective

MIN_ESS: Final = 50.0
"""Effective labelled requests below which no figure is given: with fewer, one event more or less
moves it by as much as policies differ."""
MAX_UNSUPPORTED: Final = 0.05
"""Share of the differing requests without support up to which a figure is given, widened."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure in events per request.

    Attributes:
        value: The estimate.
        low: Lower confidence limit.
        high: Upper confidence limit.
        ess: Effective number of labelled requests.
        worst: Lower bound with the requests without support at their worst.
        best: Upper bound with them at their best.
        supported: Whether the log supports the figure.
        why: Why not, or what it rests on.
    """

    value: float
    low: float
    high: float
    ess: float
    worst: float
    best: float
    supported: bool
    why: str


def judge(
    strata: Strata, usable: Strata, value: float, low: float, high: float, high_S: Doubles
) -> Interval:
    """An interval from the usable strata, with what the others may add, or refused.

    Bounds let every request without support have an event, or none. An interval takes the few that
    it tolerates to have a rate between 0 and the highest upper limit of a stratum.

    Args:
        strata: All strata that differ.
        usable: Those with labels enough for a rate.
        value: The estimate from the usable strata.
        low: Its lower limit.
        high: Its upper limit.
        high_S: Upper limits of the rates of the usable strata.
    """
    ess = effective(usable.weight_S, usable.labelled_S)
    gain = _positive(strata.weight_S) - _positive(usable.weight_S)
    loss = _positive(-strata.weight_S) - _positive(-usable.weight_S)
    plausible = float(high_S.max(initial=0.0))
    supported, why = words(
        ess,
        int(strata.requests_S.sum()),
        int(strata.requests_S.sum() - usable.requests_S.sum()),
        int(strata.labelled_S.sum()),
    )
    return Interval(
        value,
        low - loss * plausible,
        high + gain * plausible,
        ess,
        low - loss,
        high + gain,
        supported,
        why,
    )


def _positive(weight_S: Doubles) -> float:
    return float(np.maximum(weight_S, 0.0).sum())


def words(ess: float, differ: int, unsupported: int, labelled: int) -> tuple[bool, str]:
    """Whether a log supports a comparison, and why (not).

    Args:
        ess: Effective labelled requests among those that the arms treat differently.
        differ: Requests that the arms treat differently.
        unsupported: Those among them that the log never passes, or hardly ever.
        labelled: Those among them with a label.
    """
    if not differ:
        return True, "the arms treat every request alike"
    if unsupported > MAX_UNSUPPORTED * differ:
        return False, (
            f"the log (almost) never passes {unsupported:,} of the {differ:,} requests that are "
            "treated differently (no exploration there), so nobody knows their events; log with "
            "policy.explore above 0"
        )
    if ess < MIN_ESS:
        return False, (
            f"{labelled:,} labelled requests speak for the {differ:,} that are treated "
            f"differently, as many as {ess:.0f} of equal weight; at least {MIN_ESS:.0f} are needed:"
            " log for longer, or explore more"
        )
    why = f"{labelled:,} labelled of {differ:,} requests that are treated differently"
    if unsupported:
        why += f"; {unsupported:,} that the log hardly passes have a rate between 0 and the highest"
    return True, why
