"""Seeded traffic, runs of a controller on it, and the figures of a run.

Window error: the largest |intercepted - r| over every window of 10,000 consecutive requests after
the first 10,000, in points. Reward: the sum of rewards passed against an oracle that sees all
scores and must meet the same share in every tumbling window of 10,000.
"""

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from stream.policy.rate.controller import InterceptionController, Target

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SPAN: Final = 10_000
RATE: Final = 0.6
CASES: Final = ("stationary", "ramp", "diurnal", "fast", "spikes", "constant", "two_valued")
REWARDED: Final = CASES[:5]


class Controller(Protocol):
    """Decides the next requests of a stream by their scores."""

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        ...


class Weir:
    """Weir's controller, with the interface of the naive ones."""

    def __init__(
        self,
        rate: float = RATE,
        *,
        slack: float = 13.0,
        window: int = 1_000,
        direct_share: float = 0.0,
    ) -> None:
        target = Target(rate, direct_share=direct_share, slack=slack)
        self.controller = InterceptionController(target, requests=window)
        self._seen = 0

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        reward_N = score_N.astype(np.float32)
        time_N = np.arange(self._seen, self._seen + len(score_N), dtype=np.int64)
        self._seen += len(score_N)
        return self.controller.decide(reward_N, reward_N, time_N).passed_N


def scores(case: str, count: int, seed: int = 0) -> Floats:
    """Scores of a reference case, float64 of shape (count,)."""
    generator = np.random.default_rng(seed)
    base_N = generator.beta(0.7, 6.0, count)
    at_N = np.arange(count)
    shapes: dict[str, Callable[[], Floats]] = {
        "stationary": lambda: base_N,
        "ramp": lambda: base_N * (0.5 + at_N / count),
        "diurnal": lambda: base_N * (1 + 0.6 * np.sin(2 * np.pi * at_N / 200_000)),
        "fast": lambda: base_N * (1 + 0.6 * np.sin(2 * np.pi * at_N / 40_000)),
        "spikes": lambda: np.where((at_N // 5000) % 7 == 6, 3 * base_N, base_N),
        "constant": lambda: np.full(count, 0.1),
        "two_valued": lambda: np.where(base_N > np.quantile(base_N, 0.7), 0.5, 0.1),
        "step": lambda: np.where(at_N < count // 2, base_N, 2.5 * base_N),
        # Each block rises, so that every threshold is too low as soon as it is known.
        "adversarial": lambda: np.sort(base_N.reshape(20, -1), axis=1).ravel(),
    }
    return shapes[case]()


def run(controller: Controller, score_N: Floats, chunk: int = 512) -> Bools:
    """Whether each request of a stream passes, decided in chunks."""
    starts = range(0, len(score_N), chunk)
    return np.concatenate([controller.passes(score_N[at : at + chunk]) for at in starts])


def window_error(passed_N: Bools, rate: float, after: int = SPAN) -> float:
    """Window error in points, over the windows that start at ``after`` or later."""
    blocked_N = np.concatenate([[0], np.cumsum(~passed_N[after:])])
    return float(100 * np.abs((blocked_N[SPAN:] - blocked_N[:-SPAN]) / SPAN - rate).max())


def reward_percent(passed_N: Bools, score_N: Floats, rate: float) -> float:
    """Reward passed, in percent of the oracle's."""
    count = len(score_N) // SPAN * SPAN
    keep = SPAN - round((1 - rate) * SPAN)
    best = np.sort(score_N[:count].reshape(-1, SPAN), axis=1)[:, keep:].sum()
    return float(100 * score_N[:count][passed_N[:count]].sum() / best)


def long_run_error(passed_N: Bools, rate: float) -> float:
    """|intercepted - r| over the whole stream, in points."""
    return float(100 * abs((~passed_N).mean() - rate))
