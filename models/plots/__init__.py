"""Plots as SVG, for files of their own and inline in a page; nothing else draws SVG."""

from models.plots.palette import LIGHT, PAGE, Palette
from models.plots.plot import Axis, Frame, Line, Plot, line_plot
from models.plots.rows import Row, row_plot

__all__ = [
    "LIGHT",
    "PAGE",
    "Axis",
    "Frame",
    "Line",
    "Palette",
    "Plot",
    "Row",
    "line_plot",
    "row_plot",
]
