"""Rows of dots and intervals on one axis: one row per subject, its name and figure above it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from models.plots.palette import LIGHT, Palette
from models.plots.plot import LETTER, Axis, drawing

WIDTH: Final = 340
MARGIN: Final = 14
ROW: Final = 42
"""Height of a row: a line of text with the dots below it."""
FOOT: Final = 36
NEAREST: Final = 4
"""Pixels that the text of a row keeps between its name and its figure."""


@dataclass(frozen=True, slots=True)
class Row:
    """One subject.

    Attributes:
        name: Its name, to the left; shortened where it does not fit beside the note.
        note: Its figure in words, to the right.
        dots: Values, each with the number of its colour in the palette; joined by a line.
        interval: Limits of an interval around the dots.
        bounds: Limits of a wider range, drawn faintly.
    """

    name: str
    note: str
    dots: Sequence[tuple[float, int]] = ()
    interval: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None


def row_plot(
    rows: Sequence[Row],
    x: Axis,
    *,
    zero: float | None = None,
    palette: Palette = LIGHT,
    title: str = "",
    legend: Sequence[tuple[str, int]] = (),
) -> str:
    """Draw rows below each other.

    Args:
        rows: The rows, from top to bottom.
        x: The axis that they share.
        zero: Value at which a line runs through all rows.
        palette: Colours.
        title: What a screen reader says of the plot.
        legend: Names of colours of dots, by their number in the palette.
    """
    top = 18 if legend else 0
    bottom = top + ROW * len(rows) + 6
    parts = [_ticks(x, top, bottom, palette)]
    if zero is not None:
        at = _x(x, zero)
        parts.append(f"<path d='M{at:.1f} {top}V{bottom}' stroke='{palette.line}'/>")
    parts += [_row(row, x, top + ROW * number, palette) for number, row in enumerate(rows)]
    left = MARGIN
    for name, colour in legend:
        parts.append(
            f"<circle cx='{left + 4}' cy='8' r='4' fill='{palette.series[colour]}'/>"
            f"<text x='{left + 13}' y='12' fill='{palette.ink}'>{escape(name)}</text>"
        )
        left += round(LETTER * len(name)) + 30
    return drawing(WIDTH, bottom + FOOT, "".join(parts), palette, title)


def _x(axis: Axis, value: float) -> float:
    return MARGIN + axis.share(value) * (WIDTH - 2 * MARGIN)


def _ticks(axis: Axis, top: int, bottom: int, palette: Palette) -> str:
    parts = [
        f"<path d='M{_x(axis, value):.1f} {top}V{bottom}' stroke='{palette.grid}'/>"
        f"<text x='{_x(axis, value):.1f}' y='{bottom + 14}' text-anchor='middle' "
        f"fill='{palette.ink}'>{value:.4g}</text>"
        for value in axis.marks()
    ]
    parts.append(
        f"<text x='{WIDTH / 2}' y='{bottom + 30}' text-anchor='middle' fill='{palette.ink}'>"
        f"{escape(axis.label)}</text>"
    )
    return "".join(parts)


def _row(row: Row, axis: Axis, top: int, palette: Palette) -> str:
    middle = top + 30
    room = WIDTH - 2 * MARGIN - NEAREST
    letters = max(4, math.floor(room / LETTER) - len(row.note))
    name = (
        row.name
        if len(row.name) <= letters
        else f"{row.name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
    look = f"fill='{palette.ink}' stroke='{palette.halo}' stroke-width='4' paint-order='stroke'"
    parts = [
        f"<text x='{MARGIN}' y='{top + 16}' {look} font-weight='600'>{escape(name)}</text>"
        f"<text x='{WIDTH - MARGIN}' y='{top + 16}' text-anchor='end' {look}>"
        f"{escape(row.note)}</text>"
    ]
    if row.bounds is not None:
        parts.append(_bar(row.bounds, axis, middle, palette.line, 6, 0.45))
    colour = palette.series[row.dots[-1][1]] if row.dots else palette.line
    if row.interval is not None:
        parts.append(_bar(row.interval, axis, middle, colour, 3, 0.55))
    places = [value for value, _ in row.dots]
    if len(places) > 1:
        parts.append(_bar((min(places), max(places)), axis, middle, palette.line, 2, 0.5))
    parts += [
        f"<circle cx='{_x(axis, value):.1f}' cy='{middle}' r='4.5' "
        f"fill='{palette.series[number]}'/>"
        for value, number in row.dots
    ]
    return "".join(parts)


def _bar(
    ends: tuple[float, float], axis: Axis, y: float, colour: str, width: float, opacity: float
) -> str:
    return (
        f"<path d='M{_x(axis, ends[0]):.1f} {y}H{_x(axis, ends[1]):.1f}' stroke='{colour}' "
        f"stroke-width='{width}' stroke-linecap='round' opacity='{opacity}'/>"
    )
