"""Weir beside the naive controllers: worst window error against reward, a table and a plot.

Every controller is run over the five drifting cases with several values of its one parameter; a
point is the worst window error of the cases and the mean reward captured in them. A controller that
passes more than its share captures more; so each point also has the error of the share of the whole
run, and the reward against an oracle that passes this run's own share in every tumbling window.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.rate.naive import PID, Fixed, PSquare, TDigest, Thinning
from benchmarks.rate.traffic import (
    RATE,
    REWARDED,
    Controller,
    Weir,
    long_run_error,
    reward_percent,
    run,
    scores,
    window_error,
)
from models.plots import Axis, Frame, Line, Plot

Kinds = Mapping[str, tuple[Callable[[float], Controller], tuple[float, ...]]]

KINDS: Final[Kinds] = {
    "Weir (slack)": (lambda slack: Weir(slack=slack), (3, 5, 7, 10, 13, 20, 40, 60, 85, 160)),
    "Weir (window, slack 1,000)": (
        lambda n: Weir(slack=1_000.0, window=int(n)),
        (1_000, 2_000, 5_000),
    ),
    "Weir (points less intercepted)": (
        lambda points: Weir(RATE - points / 100),
        (0.1, 0.3, 1, 3, 10, 30),
    ),
    "fixed threshold (requests read)": (lambda n: Fixed(RATE, int(n)), (1_000, 10_000, 50_000)),
    "P-square (requests until restart)": (
        lambda n: PSquare(RATE, int(n)),
        (1_000, 2_000, 5_000, 20_000),
    ),
    "t-digest (window)": (lambda n: TDigest(RATE, int(n)), (1_000, 2_000, 5_000, 20_000, 50_000)),
    "PID (gain)": (lambda gain: PID(RATE, gain), (0.005, 0.01, 0.02, 0.04, 0.08)),
    "random thinning (seed)": (lambda seed: Thinning(RATE, int(seed)), (0,)),
}
OWN: Final = tuple(kind for kind in KINDS if kind.startswith("Weir"))
COLOURS: Final = ("#06c", "#4ae", "#039", "#999", "#b80", "#080", "#c33", "#808")
REWARD_TICKS: Final = (50, 80, 95, 98, 99, 99.5, 100, 100.5, 102, 105, 110, 120)


def frontier(count: int, kinds: Kinds = KINDS) -> list[dict[str, Any]]:
    """A point per controller and setting; errors in points, rewards in percent."""
    traffic = {case: scores(case, count) for case in REWARDED}
    points = []
    for kind, (make, settings) in kinds.items():
        for setting in settings:
            runs = {case: run(make(setting), score_N) for case, score_N in traffic.items()}
            rewards = [reward_percent(runs[case], traffic[case], RATE) for case in runs]
            fair = [reward_percent(r, traffic[case], 1 - r.mean()) for case, r in runs.items()]
            points.append(
                {
                    "controller": kind,
                    "setting": setting,
                    "window_error_points": max(window_error(r, RATE) for r in runs.values()),
                    "long_run_error_points": max(long_run_error(r, RATE) for r in runs.values()),
                    "reward_percent": sum(rewards) / len(rewards),
                    "own_share_reward_percent": sum(fair) / len(fair),
                }
            )
    return points


def leads(points: list[dict[str, Any]], reward: str, within: float = math.inf) -> dict[str, float]:
    """Lead of Weir's best point at the same or a smaller window error, in percent.

    Args:
        points: The frontier.
        reward: Key of the reward that is compared.
        within: Largest window error, in points, of the controllers that are compared.

    Returns:
        By naive controller, the least lead over its settings.
    """
    found: dict[str, float] = {}
    for naive in (point for point in points if point["controller"] not in OWN):
        error = naive["window_error_points"]
        if error > within:
            continue
        inside = [p for p in points if p["window_error_points"] <= error]
        best = max(p[reward] for p in inside if p["controller"] in OWN)
        kind = naive["controller"]
        found[kind] = min(found.get(kind, math.inf), best - naive[reward])
    return found


def markdown(points: list[dict[str, Any]]) -> str:
    """The points as a table for the docs."""
    lines = [
        "| controller | setting | worst window error, points | reward captured, % | "
        "long-run error, points | reward at its own share, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for point in points:
        lines.append(
            f"| {point['controller']} | {point['setting']:,g} | "
            f"{point['window_error_points']:.2f} | {point['reward_percent']:.2f} | "
            f"{point['long_run_error_points']:.3f} | {point['own_share_reward_percent']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Write the plot: the error on a logarithmic axis, the reward on an axis finest about 100 %."""
    error = Axis(0.05, 50, "worst window error, points", (0.1, 0.3, 1, 3, 10, 30), math.log)
    reward = Axis(50, 120, "reward captured, %", REWARD_TICKS, _reward_scale)
    plot = Plot(error, reward, Frame(width=640, height=440))
    for kind, colour in zip(KINDS, COLOURS, strict=True):
        own = [point for point in points if point["controller"] == kind]
        x = [point["window_error_points"] for point in own]
        plot.line(Line(x, [p["reward_percent"] for p in own]), kind, colour, dots=True)
    path.write_text(plot.svg() + "\n")


def _reward_scale(reward: float) -> float:
    return math.asinh((reward - 100) / 0.3)
