"""Weir beside the naive controllers: worst window error against reward, a table and a plot.

Every controller is run over the five drifting cases with several values of the one setting that
it has; a point is the worst window error of the cases and the mean reward captured in them.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.bench.rate.naive import PID, Fixed, PSquare, TDigest, Thinning
from tests.bench.rate.traffic import (
    RATE,
    REWARDED,
    Controller,
    Weir,
    reward_percent,
    run,
    scores,
    window_error,
)

KINDS: Final[Mapping[str, tuple[Callable[[float], Controller], tuple[float, ...]]]] = {
    "Weir (slack)": (lambda slack: Weir(slack=slack), (3, 5, 7, 10, 13, 20, 40, 80, 160, 640)),
    "fixed threshold (requests read)": (lambda n: Fixed(RATE, int(n)), (1_000, 10_000, 50_000)),
    "P-square (requests until anew)": (
        lambda n: PSquare(RATE, int(n)),
        (1_000, 2_000, 5_000, 20_000),
    ),
    "t-digest (window)": (lambda n: TDigest(RATE, int(n)), (1_000, 2_000, 5_000, 20_000, 50_000)),
    "PID (gain)": (lambda gain: PID(RATE, gain), (0.005, 0.01, 0.02, 0.04, 0.08)),
    "random thinning (seed)": (lambda seed: Thinning(RATE, int(seed)), (0,)),
}
COLOURS: Final = ("#06c", "#999", "#b80", "#080", "#c33", "#808")
WIDTH, HEIGHT, MARGIN = 640, 400, 56


def frontier(count: int) -> list[dict[str, Any]]:
    """A point per controller and setting; the error in points, the reward in percent."""
    traffic = {case: scores(case, count) for case in REWARDED}
    points = []
    for kind, (make, settings) in KINDS.items():
        for setting in settings:
            runs = {case: run(make(setting), score_N) for case, score_N in traffic.items()}
            rewards = [reward_percent(runs[case], traffic[case], RATE) for case in runs]
            points.append(
                {
                    "controller": kind,
                    "setting": setting,
                    "window_error_points": max(window_error(r, RATE) for r in runs.values()),
                    "reward_percent": sum(rewards) / len(rewards),
                }
            )
    return points


def markdown(points: list[dict[str, Any]]) -> str:
    """The points as a table for the docs."""
    lines = [
        "| controller | setting | worst window error, points | reward captured, % |",
        "| --- | --- | --- | --- |",
    ]
    for point in points:
        lines.append(
            f"| {point['controller']} | {point['setting']:,g} | "
            f"{point['window_error_points']:.2f} | {point['reward_percent']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Write the plot: the error on a logarithmic axis, the reward on that of what it loses."""
    shapes = [_text(WIDTH / 2, HEIGHT - 8, "worst window error, points", "middle")]
    shapes.append(_text(8, 16, "reward captured, %", "start"))
    for error in (0.1, 0.3, 1, 3, 10, 30):
        x = _x(error)
        shapes.append(_line(x, MARGIN / 2, x, HEIGHT - MARGIN))
        shapes.append(_text(x, HEIGHT - MARGIN + 16, f"{error:g}", "middle"))
    for reward in (50, 70, 80, 90, 95, 98, 99, 99.5, 99.9):
        y = _y(reward)
        shapes.append(_line(MARGIN, y, WIDTH - 8, y))
        shapes.append(_text(MARGIN - 4, y + 4, f"{reward:g}", "end"))
    for (kind, _settings), colour in zip(KINDS.items(), COLOURS, strict=True):
        own = [point for point in points if point["controller"] == kind]
        at = [(_x(p["window_error_points"]), _y(p["reward_percent"])) for p in own]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        shapes.append(f'<polyline points="{corners}" fill="none" stroke="{colour}"/>')
        shapes += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
    for row, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        y = HEIGHT - MARGIN - 100 + 16 * row
        shapes.append(f'<circle cx="{MARGIN + 12}" cy="{y - 4}" r="4" fill="{colour}"/>')
        shapes.append(_text(MARGIN + 22, y, kind, "start"))
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" '
        'fill="#fff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _x(error: float) -> float:
    low, high = math.log(0.05), math.log(50)
    return MARGIN + (WIDTH - MARGIN - 8) * (math.log(max(error, 0.05)) - low) / (high - low)


def _y(reward: float) -> float:
    """The share lost, on a logarithmic axis: 99.95 % at the top, 40 % at the bottom."""
    low, high = math.log(0.05), math.log(60)
    lost = math.log(min(max(100 - reward, 0.05), 60))
    return MARGIN / 2 + (HEIGHT - 1.5 * MARGIN) * (lost - low) / (high - low)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
