"""The rate controller over seeded traffic: ``python tests/bench/rate.py [REQUESTS]``.

Prints the table and writes ``var/bench/rate.json``. Window error: the largest |intercepted - r|
over every window of 10,000 consecutive requests after the first 10,000, in points. Reward: the
sum of rewards passed against an oracle that sees all scores and must meet the same share in every
tumbling window of 10,000. Both are the worst of chunk sizes 1, 32 and 512.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from stream.policy.controller import InterceptionController

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SPAN = 10_000
RATE = 0.6
CASES = ("stationary", "ramp", "diurnal", "fast", "spikes", "constant", "two_valued")
REWARDED = CASES[:5]


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


def decide(
    score_N: Floats,
    controller: InterceptionController,
    chunk: int = 512,
    retarget: tuple[int, float] | None = None,
) -> Bools:
    """Run a stream through a controller in chunks; ``retarget`` is (chunk start, new rate)."""
    reward_N = score_N.astype(np.float32)
    time_N = np.arange(len(reward_N), dtype=np.int64)
    parts = []
    for start in range(0, len(reward_N), chunk):
        if retarget is not None and start == retarget[0]:
            controller.retarget(retarget[1])
        part = slice(start, start + chunk)
        parts.append(controller.decide(reward_N[part], reward_N[part], time_N[part]).passed_N)
    return np.concatenate(parts)


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


def worst(case: str, count: int, chunks: Iterable[int]) -> tuple[float, float]:
    """Largest window error and least reward over the chunk sizes."""
    score_N = scores(case, count)
    runs = [decide(score_N, InterceptionController(RATE), chunk) for chunk in chunks]
    return (
        max(window_error(run, RATE) for run in runs),
        min(reward_percent(run, score_N, RATE) for run in runs),
    )


def tight(count: int) -> dict[str, float]:
    """At r = 0.99: passes per window against the 100 owed, and reward, in percent."""
    score_N = scores("stationary", count)
    passed_N = decide(score_N, InterceptionController(0.99))
    return {
        "window_percent": 100 * window_error(passed_N, 0.99),
        "reward_percent": reward_percent(passed_N, score_N, 0.99),
    }


def changes(count: int) -> dict[str, float]:
    """Window error from one window after a step in the scores, and after a change of r."""
    stepped_N = decide(scores("step", count), InterceptionController(RATE))
    at = count // 2 // 512 * 512
    changed_N = decide(scores("stationary", count), InterceptionController(RATE), 512, (at, 0.8))
    return {
        "step": window_error(stepped_N, RATE, count // 2 + SPAN),
        "target_change": window_error(changed_N, 0.8, at + SPAN),
    }


def microseconds(direct_share: float, chunk: int = 512, count: int = 100_000) -> float:
    """Processor time of ``decide`` per request, the best of five runs."""
    score_N = scores("stationary", count)
    best = np.inf
    for _ in range(5):
        controller = InterceptionController(RATE, direct_share=direct_share)
        start = time.process_time()
        decide(score_N, controller, chunk)
        best = min(best, time.process_time() - start)
    return best / count * 1e6


def frontier(count: int) -> list[dict[str, float]]:
    """Window error against reward captured (stationary) as the slack grows."""
    score_N = scores("stationary", count)
    points = []
    for slack in (3.0, 5.0, 7.0, 10.0, 13.0, 20.0, 40.0, 80.0):
        run_N = decide(score_N, InterceptionController(RATE, slack=slack))
        points.append(
            {
                "slack": slack,
                "window_error_points": window_error(run_N, RATE),
                "reward_percent": reward_percent(run_N, score_N, RATE),
            }
        )
    return points


def measure(count: int) -> dict[str, Any]:
    """Everything, under the keys of ``rate.json``."""
    held = {case: worst(case, count, (1, 32, 512)) for case in CASES}
    long_run = {
        case: long_run_error(decide(scores(case, 1_000_000), InterceptionController(RATE)), RATE)
        for case in (*CASES, "step", "adversarial")
    }
    return {
        "window_error_points": {case: held[case][0] for case in CASES} | changes(count),
        "reward_percent": {case: held[case][1] for case in REWARDED},
        "long_run_error_points": long_run,
        "tight": tight(count),
        "microseconds_per_request": microseconds(0.0),
        "microseconds_per_request_with_direct_passes": microseconds(0.01),
        "microseconds_per_request_one_by_one": microseconds(0.0, chunk=1, count=20_000),
        "frontier": frontier(count),
    }


def show(figures: dict[str, Any]) -> None:
    """Print the table of cases, and the other figures below it."""
    table = Table("case", "window error, points", "reward, %", "long-run error, points")
    cases = figures["window_error_points"] | figures["long_run_error_points"]
    for case in cases:
        columns = ("window_error_points", "reward_percent", "long_run_error_points")
        table.add_row(case, *[f"{figures[key].get(case, float('nan')):.4f}" for key in columns])
    console = Console()
    console.print(table)
    for key in [key for key in figures if key.startswith(("tight", "micro"))]:
        console.print(key, figures[key])
    for point in figures["frontier"]:
        console.print({key: round(value, 3) for key, value in point.items()})


if __name__ == "__main__":
    result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 400_000)
    show(result)
    target = Path(__file__).resolve().parents[2] / "var" / "bench" / "rate.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
