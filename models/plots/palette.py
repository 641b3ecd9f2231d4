"""Colours of plots: fixed ones, or those of the page that a plot is part of."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours, each any CSS colour.

    Attributes:
        paper: Background; "none" to show that of the page.
        halo: What text stands out with against lines behind it.
        ink: Text.
        line: Axes.
        grid: Lines at ticks.
        series: Curves, in the order in which they are named.
    """

    paper: str
    halo: str
    ink: str
    line: str
    grid: str
    series: tuple[str, ...]


LIGHT: Final = Palette(
    paper="white",
    halo="white",
    ink="black",
    line="#333",
    grid="#e4e4e4",
    series=(
        *("#0063c3", "#d1495b", "#2e8b57", "#b07d12"),
        *("#7b4fb5", "#008c95", "#666", "#c2185b"),
    ),
)
PAGE: Final = Palette(
    paper="none",
    halo="var(--card)",
    ink="var(--ink)",
    line="var(--line)",
    grid="var(--grid)",
    series=tuple(f"var(--series-{number})" for number in range(1, 7)),
)
"""Custom properties of CSS, which a page defines for light and for dark."""
