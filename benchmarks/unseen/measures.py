"""Figures of a run: value passed, and how soon good new sources get their share."""

from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.unseen.market import Floats, Ints, Market
from benchmarks.unseen.plan import UnseenPlan
from benchmarks.unseen.play import Played
from trainer.experiments.raw import Measured

Mask = npt.NDArray[np.bool_]
GOOD: Final = 0.5
"""A source is good if the truth passes this share of its requests, and by far not of all."""
ENOUGH: Final = 60
"""Requests that a source has at least, to be counted as good."""
SHARE: Final = 0.5
"""A source has its share once so much of what the truth passes of it has passed,"""
LATELY: Final = 3
"""counted over this number of rounds."""


def measure(market: Market, played: Played, plan: UnseenPlan) -> Measured:
    """All figures of one run.

    ``value``: true value passed, in percent of what the truth's ranking passes, over all rounds;
    ``late``: the same over the last quarter; ``new``: over arrived sources, in percent of the
    truth's; ``wait``: mean rounds until a good new source has its share (its whole stay if it never
    has); ``reached``: percent of the good sources that ever have it; ``passes``: percent passed.
    """
    rounds = slice(plan.warm_rows, None)
    value_RN = market.value_N[rounds].reshape(plan.rounds, -1)
    passed_RN = played.passed_N.reshape(plan.rounds, -1)
    best_RN = best_by_round(value_RN, plan.rate)
    arrived_RN = market.arrived_N[rounds].reshape(plan.rounds, -1)
    got_R, most_R = (value_RN * passed_RN).sum(axis=1), (value_RN * best_RN).sum(axis=1)
    late, new_RN = slice(-max(plan.rounds // 4, 1), None), arrived_RN >= 0
    waits, reached = waiting_times(arrived_RN, passed_RN, best_RN)
    measured = Measured()
    measured.add(
        "run",
        {
            "value": 100 * got_R.sum() / most_R.sum(),
            "late": 100 * got_R[late].sum() / most_R[late].sum(),
            "new": 100 * (value_RN * passed_RN)[new_RN].sum() / (value_RN * best_RN)[new_RN].sum(),
            "wait": float(np.mean(waits)) if waits else np.nan,
            "reached": 100 * float(np.mean(reached)) if reached else np.nan,
            "good": len(waits),
            "passes": 100 * played.passed_N.mean(),
            "explored": 100 * played.explored_N.mean(),
        },
    )
    measured.draw("run.value_by_round", range(plan.rounds), 100 * got_R / most_R)
    return measured


def best_by_round(value_RN: Floats, rate: float) -> Mask:
    """The requests that the true values' own ranking passes in each round, bool (R, N)."""
    count = round((1 - rate) * value_RN.shape[1])
    best_RN = np.zeros(value_RN.shape, np.bool_)
    np.put_along_axis(best_RN, np.argsort(-value_RN, axis=1)[:, :count], values=True, axis=1)
    return best_RN


def waiting_times(
    arrived_RN: Ints, passed_RN: Mask, best_RN: Mask
) -> tuple[list[float], list[bool]]:
    """Rounds until each good source has its share, and whether it ever has.

    Args:
        arrived_RN: Number of the source of each request, by round; -1 for known inventory.
        passed_RN: Whether it passed.
        best_RN: Whether the truth's ranking passes it.
    """
    waits, reached = [], []
    for number in np.unique(arrived_RN[arrived_RN >= 0]).tolist():
        own_RN = arrived_RN == number
        if own_RN.sum() < ENOUGH or best_RN[own_RN].mean() < GOOD:
            continue
        there_K = np.flatnonzero(own_RN.any(axis=1))
        first, last = int(there_K[0]), int(there_K[-1])
        got_R, owed_R = ((mask_RN & own_RN).sum(axis=1) for mask_RN in (passed_RN, best_RN))
        when = [
            at
            for at in range(first, last + 1)
            if _lately(got_R, first, at) >= SHARE * _lately(owed_R, first, at) > 0
        ]
        waits.append(float((when[0] if when else last + 1) - first))
        reached.append(bool(when))
    return waits, reached


def _lately(count_R: Ints, first: int, at: int) -> int:
    """Sum over the last ``LATELY`` rounds up to ``at``, none of them before ``first``."""
    return int(count_R[max(first, at - LATELY + 1) : at + 1].sum())
