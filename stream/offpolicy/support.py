"""What a log supports: confidence intervals of a figure, and the words that refuse one."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stream.offpolicy.cells import Doubles
from stream.offpolicy.intervals import rate_limits
from stream.offpolicy.strata import Strata, effective

MIN_ESS: Final = 50.0
"""Effective labelled requests below which no figure is given: with fewer, one event more or less
moves it by as much as policies differ."""
MIN_EVENTS: Final = 10.0
"""Events expected by the scores among the effective labels below which no figure is given. The
events themselves must not decide that: figures would be given where there were many by luck."""
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


UNLABELLED: Final = Interval(
    0.0,
    -1.0,
    1.0,
    0.0,
    -1.0,
    1.0,
    supported=False,
    why="no request has a label: the log has no passes, or no window was closed",
)


def judge(
    strata: Strata, usable: Strata, value: float, low: float, high: float, level: float
) -> Interval:
    """An interval from the usable strata, with what the others may add, or refused.

    Bounds let every request without support have an event, or none. An interval takes the few that
    it tolerates to have a rate between 0 and the upper limit of all labelled ones together.

    Args:
        strata: All strata that differ.
        usable: Those with labels enough for a rate.
        value: The estimate from the usable strata.
        low: Its lower limit.
        high: Its upper limit.
        level: Confidence.
    """
    ess = effective(strata.weight_S, strata.labelled_S)
    gain = _positive(strata.weight_S) - _positive(usable.weight_S)
    loss = _positive(-strata.weight_S) - _positive(-usable.weight_S)
    pooled = np.array([usable.events_S.sum()]), np.array([usable.labelled_S.sum()])
    plausible = float(rate_limits(*pooled, level)[1][0])
    supported, why = words(
        ess,
        _expected(strata, ess),
        differ=int(strata.requests_S.sum()),
        never=int(strata.requests_S[strata.mu_S == 0].sum()),
        thin=int(strata.requests_S.sum() - usable.requests_S.sum()),
        labelled=int(strata.labelled_S.sum()),
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


def _expected(strata: Strata, ess: float) -> float | None:
    """Events that the scores expect of ``ess`` requests of the strata; None without scores."""
    total = float(np.abs(strata.weight_S).sum())
    scores = float(
        (np.abs(strata.weight_S) * strata.scores_S / np.maximum(strata.requests_S, 1)).sum()
    )
    return ess * scores / total if scores > 0 else None


def words(
    ess: float, expected: float | None, *, differ: int, never: int, thin: int, labelled: int
) -> tuple[bool, str]:
    """Whether a log supports a comparison, and why (not).

    Args:
        ess: Effective labelled requests among those that the arms treat differently.
        expected: Events that the scores expect of so many; None if they are not known.
        differ: Requests that the arms treat differently.
        never: Those among them that the log never passes.
        thin: Those among them whose kind has too few labels, if any.
        labelled: Those among them with a label.
    """
    if not differ:
        return True, "the arms treat every request alike"
    if never > MAX_UNSUPPORTED * differ:
        return False, (
            f"the log never passes, or has no verdict of, {never:,} of the {differ:,} requests "
            "that are treated differently (no exploration there), so nobody knows their events; "
            "log with policy.explore above 0"
        )
    if ess < MIN_ESS or thin > MAX_UNSUPPORTED * differ:
        return False, (
            f"{labelled:,} labelled requests speak for the {differ:,} that are treated "
            f"differently, as many as {ess:.0f} of equal weight; at least {MIN_ESS:.0f} are needed,"
            " of every kind: log for longer, or explore more"
        )
    if expected is not None and expected < MIN_EVENTS:
        return False, (
            f"of {ess:.0f} effective labelled requests the scores expect {expected:.1f} events; at "
            f"least {MIN_EVENTS:.0f} are needed: log for longer, or explore more"
        )
    why = f"{labelled:,} labelled of {differ:,} requests that are treated differently"
    if thin:
        why += f"; {thin:,} that the log hardly passes have a rate between 0 and that of the others"
    return True, why
