"""Capacity mode while traffic grows from half of the capacity to four times as much."""

from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.rate.traffic import Bools, Floats
from stream.policy.rate.controller import InterceptionController, Target

CAPACITIES: Final = (50, 1000, 20_000)
STRETCH_S: Final = {50: 600, 1000: 60, 20_000: 12}
"""Length of each stretch of traffic; the requests per second double from one to the next."""
LEVELS: Final = (0.5, 1.0, 2.0, 4.0)
WINDOW_MS: Final = 10_000


def arrivals(per_second: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Poisson arrivals in ms; their rate doubles from stretch to stretch."""
    generator = np.random.default_rng(seed)
    parts, start = [], 0.0
    for level in LEVELS:
        length = 1000.0 * STRETCH_S[int(per_second)]
        count = generator.poisson(level * per_second * length / 1000.0)
        parts.append(start + np.sort(generator.random(count)) * length)
        start += length
    return np.concatenate(parts).astype(np.int64)


def decide(time_N: npt.NDArray[np.int64], score_N: Floats, per_second: float) -> Bools:
    """Whether each request passes a controller with this capacity."""
    controller = InterceptionController(Target(0.0, capacity=per_second))
    reward_N = score_N.astype(np.float32)
    parts = []
    for start in range(0, len(time_N), 512):
        at = slice(start, start + 512)
        parts.append(controller.decide(reward_N[at], reward_N[at], time_N[at]).passed_N)
    return np.concatenate(parts)


def over_percent(time_N: npt.NDArray[np.int64], passed_N: Bools, per_second: float) -> float:
    """Most passes in any ten seconds over the capacity, in percent of it."""
    pass_M = time_N[passed_N]
    in_window_M = np.searchsorted(pass_M, pass_M + WINDOW_MS, side="left") - np.arange(len(pass_M))
    return float(100.0 * (in_window_M.max() / (per_second * WINDOW_MS / 1000.0) - 1.0))


def needless_percent(time_N: npt.NDArray[np.int64], passed_N: Bools, per_second: float) -> float:
    """Requests intercepted although the capacity had room, in percent of the passes it allows.

    Those are the passes of a token bucket with one second of Q, filled at Q.
    """
    passed, tokens, clock = 0, per_second, int(time_N[0])
    for time in time_N.tolist():
        tokens = min(per_second, tokens + (time - clock) * per_second / 1000.0)
        clock = time
        if tokens >= 1.0:
            passed, tokens = passed + 1, tokens - 1.0
    return float(100.0 * (passed - passed_N.sum()) / passed)


def measure() -> dict[str, dict[str, float]]:
    """Over-delivery and needless interception by capacity, under the keys of ``rate.json``."""
    over, needless = {}, {}
    for per_second in CAPACITIES:
        time_N = arrivals(per_second)
        score_N = np.random.default_rng(1).beta(0.7, 6.0, len(time_N))
        passed_N = decide(time_N, score_N, per_second)
        over[str(per_second)] = over_percent(time_N, passed_N, per_second)
        needless[str(per_second)] = needless_percent(time_N, passed_N, per_second)
    return {"capacity_over_percent": over, "capacity_needless_percent": needless}
