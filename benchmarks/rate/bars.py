"""The bar that each figure of ``rate.json`` must reach, and its aim."""

from dataclasses import dataclass
from typing import Any, Final

from benchmarks.rate.traffic import CASES


@dataclass(frozen=True)
class Bar:
    """A figure's bar and aim; a figure is better the smaller it is, a reward the larger."""

    bar: float
    aim: float

    def rate(self, value: float) -> str:
        """Whether a figure reaches its aim, its bar, or neither."""
        sign = 1 if self.aim <= self.bar else -1
        if sign * value <= sign * self.aim:
            return "aim"
        return "bar" if sign * value <= sign * self.bar else "MISSED"


_WINDOW: Final = Bar(0.30, 0.15)

BARS: Final[dict[str, Bar]] = {
    **{f"window_error_points.{case}": _WINDOW for case in (*CASES, "step", "target_change")},
    **{f"reward_percent.{case}": Bar(99.7, 99.9) for case in ("stationary", "ramp", "diurnal")},
    "reward_percent.fast": Bar(98.9, 99.5),
    "reward_percent.spikes": Bar(97.0, 98.0),
    **{
        f"long_run_error_points.{case}": Bar(0.02, 0.005)
        for case in (*CASES, "step", "adversarial")
    },
    "tight.window_percent": Bar(10.0, 5.0),
    "tight.reward_percent": Bar(98.0, 99.0),
    "fleet.rate_error_points": _WINDOW,
    "fleet.reward_percent": Bar(99.5, 99.9),
    "fleet.independent_rate_error_points": Bar(0.30, 0.20),
    "fleet.independent_reward_percent": Bar(99.5, 99.7),
    **{f"capacity_over_percent.{q}": Bar(2.0, 1.0) for q in (50, 1000, 20000)},
    "elastic_error_points": _WINDOW,
    "microseconds_per_request": Bar(0.5, 0.2),
}


def flatten(figures: dict[str, Any]) -> dict[str, float]:
    """Figures by dotted key, without the points of the frontier."""
    flat: dict[str, float] = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": found for name, found in value.items()}
        elif not isinstance(value, list):
            flat[key] = value
    return flat
