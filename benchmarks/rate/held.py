"""One controller on its own: the reference cases, a tight rate, changes, and what a call costs."""

import time
from collections.abc import Iterable
from typing import Final

import numpy as np

from benchmarks.rate.traffic import (
    CASES,
    RATE,
    REWARDED,
    SPAN,
    Weir,
    long_run_error,
    reward_percent,
    run,
    scores,
    window_error,
)
from stream.policy.rate.controller import Target

CHUNKS: Final = (1, 32, 512)
LONG: Final = 1_000_000


def worst(case: str, count: int, chunks: Iterable[int] = CHUNKS) -> tuple[float, float]:
    """Largest window error and least reward over the chunk sizes."""
    score_N = scores(case, count)
    runs = [run(Weir(), score_N, chunk) for chunk in chunks]
    return (
        max(window_error(passed_N, RATE) for passed_N in runs),
        min(reward_percent(passed_N, score_N, RATE) for passed_N in runs),
    )


def changes(count: int) -> dict[str, float]:
    """Window error from one window after a step in the scores, and after a change of r."""
    stepped_N = run(Weir(), scores("step", count))
    at = count // 2
    score_N, subject = scores("stationary", count), Weir()
    run(subject, score_N[:at])
    subject.controller.retarget(Target(0.8))
    return {
        "step": window_error(stepped_N, RATE, at + SPAN),
        "target_change": window_error(run(subject, score_N[at:]), 0.8),
    }


def tight(count: int) -> dict[str, float]:
    """At r = 0.99: passes per window against the 100 owed, and reward, in percent."""
    score_N = scores("stationary", count)
    passed_N = run(Weir(0.99), score_N)
    return {
        "window_percent": 100 * window_error(passed_N, 0.99),
        "reward_percent": reward_percent(passed_N, score_N, 0.99),
    }


def long_run(count: int = LONG) -> dict[str, float]:
    """Long-run error in points of every case."""
    return {
        case: long_run_error(run(Weir(), scores(case, count)), RATE)
        for case in (*CASES, "step", "adversarial")
    }


def microseconds(direct_share: float = 0.0, chunk: int = 512, count: int = 100_000) -> float:
    """Processor time of ``decide`` per request, the best of five runs."""
    score_N = scores("stationary", count)
    best = np.inf
    for _ in range(5):
        subject = Weir(direct_share=direct_share)
        start = time.process_time()
        run(subject, score_N, chunk)
        best = min(best, time.process_time() - start)
    return best / count * 1e6


def measure(count: int) -> dict[str, object]:
    """Everything, under the keys of ``rate.json``."""
    held = {case: worst(case, count) for case in CASES}
    return {
        "window_error_points": {case: held[case][0] for case in CASES} | changes(count),
        "reward_percent": {case: held[case][1] for case in REWARDED},
        "long_run_error_points": long_run(),
        "tight": tight(count),
        "microseconds_per_request": microseconds(),
        "microseconds_with_direct_passes": microseconds(direct_share=0.01),
        "microseconds_one_by_one": microseconds(chunk=1, count=20_000),
    }
