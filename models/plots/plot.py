"""Curves with bands, dots and bars over a pair of axes.

All coordinates are data values. An axis has its span, label and ticks; a plot collects shapes and
names, and renders them with axes and a legend.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Self

from models.plots.palette import LIGHT, Palette

TICKS: Final = 4
LETTER, LINE = 6.2, 14
"""Mean width of a letter, and height of a line, of the legend, in pixels."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, optionally with a band around it; a band is interrupted where it is None."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a plot.

    Attributes:
        low: Lower end; values below are drawn there.
        high: Upper end; values above are drawn there.
        label: Text at the axis.
        ticks: Values that are marked; by default about four round ones.
        scale: Strictly increasing function that spaces the values, such as ``math.log``.
    """

    low: float
    high: float
    label: str = ""
    ticks: tuple[float, ...] = ()
    scale: Callable[[float], float] = float

    @classmethod
    def around(cls, values: Sequence[float], label: str) -> Self:
        """A linear axis that spans the finite ones of these values with a small margin."""
        known = [value for value in values if math.isfinite(value)]
        low, high = min(known), max(known)
        pad = (high - low) * 0.04 or max(abs(high) * 0.05, 1e-6)
        return cls(low - pad, high + pad, label)

    def share(self, value: float) -> float:
        """Position of a value between the ends, from 0 to 1."""
        low, high = self.scale(self.low), self.scale(self.high)
        return (self.scale(min(max(value, self.low), self.high)) - low) / (high - low)

    def marks(self) -> Sequence[float]:
        """The ticks, or about four round values within the span."""
        if self.ticks:
            return self.ticks
        step = 10 ** math.floor(math.log10((self.high - self.low) / TICKS))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= TICKS + 1)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(n * step, 12) for n in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of a plot and its margins, in pixels; the legend is added below."""

    width: int = 380
    height: int = 250
    left: int = 58
    right: int = 12
    top: int = 12
    bottom: int = 40


class Plot:
    """Shapes over a pair of axes.

    Args:
        x: Horizontal axis.
        y: Vertical axis.
        frame: Size and margins.
        palette: Colours.
    """

    def __init__(self, x: Axis, y: Axis, frame: Frame = Frame(), palette: Palette = LIGHT) -> None:
        self._x_axis, self._y_axis, self._frame, self._palette = x, y, frame, palette
        self._shapes: list[str] = []
        self._legend: list[tuple[str, str]] = []

    def line(
        self,
        line: Line,
        name: str = "",
        colour: str | None = None,
        *,
        dots: bool = False,
        dash: str = "",
    ) -> None:
        """Draw a curve; with a name, it has an entry in the legend and a colour of its own.

        Args:
            line: The curve.
            name: Its name; without, it is not in the legend.
            colour: Its colour; by default the next of the palette.
            dots: Whether each point is marked.
            dash: Lengths of dashes and gaps, such as "5 4"; a solid line without.
        """
        series = self._palette.series
        colour = colour or series[len(self._legend) % len(series)]
        if name:
            self._legend.append((name, colour))
        if line.low:
            band = [
                (x, low, high)
                for x, low, high in zip(line.x, line.low, line.high, strict=True)
                if low is not None and high is not None
            ]
            around = [self._point(x, high) for x, _, high in band]
            around += [self._point(x, low) for x, low, _ in reversed(band)]
            self._shapes.append(
                f"<polygon points='{' '.join(around)}' fill='{colour}' opacity='0.13'/>"
            )
        known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        points = " ".join(self._point(x, y) for x, y in known)
        dashes = f" stroke-dasharray='{dash}'" if dash else ""
        self._shapes.append(f"<polyline points='{points}' fill='none' stroke='{colour}'{dashes}/>")
        if dots:
            self._shapes += [
                f"<circle cx='{self._x(x):.1f}' cy='{self._y(y):.1f}' r='3' fill='{colour}'/>"
                for x, y in known
            ]

    def bars(self, edges: Sequence[float], heights: Sequence[float]) -> None:
        """Draw a histogram: one bar between each pair of neighbouring edges."""
        bottom = self._y(self._y_axis.low)
        for start, stop, height in zip(edges[:-1], edges[1:], heights, strict=True):
            left, top = self._x(start), self._y(height)
            self._shapes.append(
                f"<rect x='{left:.1f}' y='{top:.1f}' fill='{self._palette.series[0]}' "
                f"width='{self._x(stop) - left:.1f}' height='{bottom - top:.1f}'/>"
            )

    def rule(self, x: float) -> None:
        """Draw a vertical line over the whole height."""
        frame = self._frame
        self._shapes.append(
            f"<path d='M{self._x(x):.1f} {frame.top}V{frame.height - frame.bottom}' "
            f"stroke='{self._palette.line}' stroke-dasharray='2 3'/>"
        )

    def label(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Write a text at a point; ``anchor`` is its start, middle or end."""
        self._shapes.append(
            f"<text x='{self._x(x):.1f}' y='{self._y(y):.1f}' fill='{self._palette.ink}' "
            f"stroke='{self._palette.halo}' stroke-width='4' paint-order='stroke' "
            f"text-anchor='{anchor}'>{escape(text)}</text>"
        )

    def svg(self, title: str = "") -> str:
        """The whole plot; ``title`` is what a screen reader says of it."""
        legend, bottom = self._drawn_legend()
        shapes = f"{self._axes()}{''.join(self._shapes)}{legend}"
        return drawing(self._frame.width, bottom, shapes, self._palette, title)

    def _x(self, value: float) -> float:
        frame = self._frame
        return frame.left + self._x_axis.share(value) * (frame.width - frame.left - frame.right)

    def _y(self, value: float) -> float:
        frame = self._frame
        height = frame.height - frame.top - frame.bottom
        return frame.height - frame.bottom - self._y_axis.share(value) * height

    def _point(self, x: float, y: float) -> str:
        return f"{self._x(x):.1f},{self._y(y):.1f}"

    def _axes(self) -> str:
        frame, colours = self._frame, self._palette
        bottom, right = frame.height - frame.bottom, frame.width - frame.right
        parts = [
            f"<path d='M{frame.left} {frame.top}V{bottom}H{right}' "
            f"stroke='{colours.line}' fill='none'/>"
        ]
        parts += [
            f"<text x='{self._x(value):.1f}' y='{bottom + 14}' "
            f"fill='{colours.ink}' text-anchor='middle'>{value:.4g}</text>"
            for value in self._x_axis.marks()
        ]
        parts += [
            f"<path d='M{frame.left} {self._y(value):.1f}H{right}' stroke='{colours.grid}'/>"
            f"<text x='{frame.left - 4}' y='{self._y(value) + 4:.1f}' "
            f"fill='{colours.ink}' text-anchor='end'>{value:.4g}</text>"
            for value in self._y_axis.marks()
        ]
        parts.append(
            f"<text x='{(frame.left + right) / 2}' y='{frame.height - 8}' "
            f"fill='{colours.ink}' text-anchor='middle'>{escape(self._x_axis.label)}</text>"
            f"<text x='12' y='{frame.height / 2}' fill='{colours.ink}' text-anchor='middle' "
            f"transform='rotate(-90 12 {frame.height / 2})'>{escape(self._y_axis.label)}</text>"
        )
        return "".join(parts)

    def _drawn_legend(self) -> tuple[str, int]:
        """Names in their curves' colours, in lines as wide as the plot; and where they end."""
        frame = self._frame
        if not self._legend:
            return "", frame.height
        parts, x, y = [], frame.left, frame.height + LINE
        for name, colour in self._legend:
            text = f"\N{BLACK SQUARE} {name}"
            width = round(LETTER * len(text)) + LINE
            if x > frame.left and x + width > frame.width:
                x, y = frame.left, y + LINE
            parts.append(f"<text x='{x}' y='{y}' fill='{colour}'>{escape(text)}</text>")
            x += width
        return "".join(parts), y + LINE


def drawing(width: int, height: float, shapes: str, palette: Palette, title: str = "") -> str:
    """Shapes as a whole SVG, which a page may scale."""
    named = f"<title>{escape(title)}</title>" if title else ""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' font-family='sans-serif' font-size='11' role='img'>"
        f"{named}<rect width='100%' height='100%' fill='{palette.paper}'/>{shapes}</svg>"
    )


def line_plot(lines: Mapping[str, Line], x_label: str, y_label: str) -> str:
    """One plot of all curves that have a finite point; empty if none has."""
    drawn = {name: line for name, line in lines.items() if any(map(math.isfinite, line.y))}
    if not drawn:
        return ""
    ys = [v for line in drawn.values() for v in (*line.y, *_known(line.low), *_known(line.high))]
    xs = [v for line in drawn.values() for v in line.x]
    plot = Plot(Axis.around(xs, x_label), Axis.around(ys, y_label))
    for name, line in drawn.items():
        plot.line(line, name)
    return plot.svg()


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
