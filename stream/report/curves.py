"""Passing ratio against value: the share of a task's events that an arm's ranking keeps.

An event of a request that the log passed with probability mu stands for 1 / mu events. At a passing
ratio, 1 - r, the requests with the highest e pass; the share kept is a ratio of two weighted
totals, and its variance that of the linearised ratio, with events as Poisson counts (Saerndal,
Swensson, Wretman: Model Assisted Survey Sampling, 1992, section 5.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.report.content import ArmCurve, Curve, EqualRate, Interval

Doubles = npt.NDArray[np.float64]

STEPS: Final = 40
MIN_EVENTS: Final = 20.0
"""Effective events below which there is no curve: its steps would be single events."""
FULL: Final = 0.99
"""Share of the requests that a log must be able to pass for a claim about all of them."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What curves of one task are made from, over N requests that the log could pass.

    Attributes:
        e_N: By arm, the expected reward; NaN ranks last.
        events_N: Events that each request stands for: 1 / mu where one was observed, else 0.
        share: N over all requests whose window is closed.
    """

    e_N: Mapping[str, npt.NDArray[np.float32]]
    events_N: Doubles
    share: float

    @property
    def ess(self) -> float:
        """Effective number of events."""
        squares = float((self.events_N**2).sum())
        return float(self.events_N.sum()) ** 2 / squares if squares else 0.0


def value_curve(task: str, ranked: Ranked, level: float) -> Curve:
    """The curves of all arms, or why there are none."""
    rates_R = np.linspace(0.0, 1.0, STEPS + 1)
    ess, total = ranked.ess, float(ranked.events_N.sum())
    why, oracle_R, arms = "", rates_R[:0], []
    if ess < MIN_EVENTS:
        why = (
            f"{ess:.0f} effective events are too few for a curve; at least {MIN_EVENTS:.0f} are "
            "needed"
        )
        rates_R = rates_R[:0]
    else:
        oracle_R = np.minimum(1.0, rates_R * len(ranked.events_N) / total)
        arms = [_arm_curve(name, e_N, ranked.events_N, rates_R, level)
                for name, e_N in ranked.e_N.items()]  # fmt: skip
    return Curve(
        task=task,
        requests=len(ranked.events_N),
        share=ranked.share,
        events=int(np.count_nonzero(ranked.events_N)),
        ess=ess,
        why=why,
        rates=rates_R.tolist(),
        oracle=oracle_R.tolist(),
        arms=arms,
    )


def equal_rate(ranked: Ranked, base: str, arm: str, rate: float, level: float) -> EqualRate | None:
    """Both arms at one passing ratio; None where the log could not pass (nearly) all requests.

    The interval is of the difference over the same requests: events that both keep, or both lose,
    add next to nothing to it.
    """
    if ranked.ess < MIN_EVENTS or ranked.share < FULL:
        return None
    events_N = ranked.events_N
    total = events_N.sum()
    passed = round(rate * len(events_N))
    kept_base_N, kept_arm_N = (_highest(ranked.e_N[name], passed) for name in (base, arm))
    value_base, value_arm = (
        float(events_N @ kept_N / total) for kept_N in (kept_base_N, kept_arm_N)
    )
    change = value_arm - value_base
    linear_N = events_N * (kept_arm_N.astype(np.float64) - kept_base_N - change) / total
    half = _quantile(level) * float(np.sqrt((linear_N**2).sum()))
    in_points = Interval(100 * change, 100 * (change - half), 100 * (change + half))
    return EqualRate(rate, value_base, value_arm, in_points)


def _arm_curve(
    name: str, e_N: npt.NDArray[np.float32], events_N: Doubles, rates_R: Doubles, level: float
) -> ArmCurve:
    ordered_N = events_N[_order(e_N)]
    total = ordered_N.sum()
    at_R = np.rint(rates_R * len(ordered_N)).astype(np.int64)
    kept_R = np.concatenate([[0.0], np.cumsum(ordered_N)])[at_R] / total
    squares = np.concatenate([[0.0], np.cumsum(ordered_N**2)])
    inside_R, outside_R = squares[at_R], squares[-1] - squares[at_R]
    variance_R = (inside_R * (1 - kept_R) ** 2 + outside_R * kept_R**2) / total**2
    half_R = _quantile(level) * np.sqrt(variance_R)
    low_R, high_R = (np.clip(kept_R + sign * half_R, 0.0, 1.0) for sign in (-1, 1))
    return ArmCurve(name, *(np.round(v, 6).tolist() for v in (kept_R, low_R, high_R)))


def _order(e_N: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Indices by falling e; NaN last, and equal e in replay order."""
    return np.argsort(-e_N, kind="stable")


def _highest(e_N: npt.NDArray[np.float32], passed: int) -> npt.NDArray[np.bool_]:
    kept_N = np.zeros(len(e_N), dtype=bool)
    kept_N[_order(e_N)[:passed]] = True
    return kept_N


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
