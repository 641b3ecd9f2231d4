"""Plots as SVG, for files of their own and inline in a page: curves with intervals.

Coordinates are data values; axes span what is drawn and are labelled at four round values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 40
COLOURS = ("#0063c3", "#d1495b", "#2e8b57", "#b07d12", "#7b4fb5", "#008c95", "#666", "#c2185b")
TICKS = 4
LETTER, LINE = 6.2, 14
"""Mean width of a letter, and height of a line, of the legend."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, optionally with a band around it; None ends a band where it is not known."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


def line_plot(lines: Mapping[str, Line], x_label: str, y_label: str) -> str:
    """One SVG with a legend below the plot; what cannot be drawn (no finite point) is left out."""
    drawn = {name: line for name, line in lines.items() if any(map(math.isfinite, line.y))}
    if not drawn:
        return ""
    ys = [v for line in drawn.values() for v in (*line.y, *_known(line.low), *_known(line.high))]
    scale = _Scale(_span([v for line in drawn.values() for v in line.x]), _span(ys))
    parts = [scale.axes(x_label, y_label)]
    for number, line in enumerate(drawn.values()):
        parts.append(_drawn(line, scale, COLOURS[number % len(COLOURS)]))
    legend, bottom = _legend(list(drawn))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{bottom}' "
        f"font-family='sans-serif' font-size='11' role='img'>"
        f"<rect width='100%' height='100%' fill='white'/>{''.join(parts)}{legend}</svg>"
    )


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """Names in their curves' colours, in lines as wide as the plot; and where they end."""
    parts, x, y = [], LEFT, HEIGHT + LINE
    for number, name in enumerate(names):
        text = f"\N{BLACK SQUARE} {name}"
        width = round(LETTER * len(text)) + LINE
        if x > LEFT and x + width > WIDTH:
            x, y = LEFT, y + LINE
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f"<text x='{x}' y='{y}' fill='{colour}'>{escape(text)}</text>")
        x += width
    return "".join(parts), y + LINE


@dataclass(frozen=True, slots=True)
class _Scale:
    """Data values to pixels."""

    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.ys
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def axes(self, x_label: str, y_label: str) -> str:
        bottom = HEIGHT - BOTTOM
        parts = [f"<path d='M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}' stroke='#333' fill='none'/>"]
        parts += [
            f"<text x='{self.x(value):.1f}' y='{bottom + 14}' "
            f"text-anchor='middle'>{value:.4g}</text>"
            for value in _ticks(*self.xs)
        ]
        parts += [
            f"<path d='M{LEFT} {self.y(value):.1f}H{WIDTH - RIGHT}' stroke='#e4e4e4'/>"
            f"<text x='{LEFT - 4}' y='{self.y(value) + 4:.1f}' text-anchor='end'>{value:.4g}</text>"
            for value in _ticks(*self.ys)
        ]
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f"<text x='{middle}' y='{HEIGHT - 8}' text-anchor='middle'>{escape(x_label)}</text>"
            f"<text x='12' y='{HEIGHT / 2}' text-anchor='middle' "
            f"transform='rotate(-90 12 {HEIGHT / 2})'>{escape(y_label)}</text>"
        )
        return "".join(parts)


def _drawn(line: Line, scale: _Scale, colour: str) -> str:
    points = [
        f"{scale.x(x):.1f},{scale.y(y):.1f}"
        for x, y in zip(line.x, line.y, strict=True)
        if math.isfinite(y)
    ]
    out = f"<polyline points='{' '.join(points)}' fill='none' stroke='{colour}'/>"
    if not line.low:
        return out
    band = [
        (x, low, high)
        for x, low, high in zip(line.x, line.low, line.high, strict=True)
        if low is not None and high is not None
    ]
    around = [f"{scale.x(x):.1f},{scale.y(high):.1f}" for x, _, high in band]
    around += [f"{scale.x(x):.1f},{scale.y(low):.1f}" for x, low, _ in reversed(band)]
    return f"<polygon points='{' '.join(around)}' fill='{colour}' opacity='0.13'/>{out}"


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _span(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    pad = (high - low) * 0.04 or max(abs(high) * 0.05, 1e-6)
    return low - pad, high + pad


def _ticks(low: float, high: float) -> list[float]:
    """Round values within the span, about four."""
    step = 10 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= TICKS + 1)
    return [round(n * step, 12) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
