"""An architecture as TOML, for the settings, and as a picture (SVG)."""

from collections.abc import Sequence
from html import escape
from typing import Final

import orjson

from models.nets.config import Architecture

BOX: Final = (92, 24)
GAP: Final = (14, 22)
INK, FILL, LINE = "#1f2937", "#e5edf7", "#94a3b8"


def to_toml(architecture: Architecture) -> str:
    """The tables of weir.toml that make a teacher of this architecture."""
    experts = ",\n".join(f"  {_list(blocks)}" for blocks in architecture.experts)
    return (
        "[training.net]\n"
        'kind = "automtl"\n\n'
        "[training.net.architecture]\n"
        f'interaction = "{architecture.interaction}"\n'
        f"experts = [\n{experts},\n]\n"
        f"selected = {_list([list(each) for each in architecture.selected])}\n"
    )


def _list(values: Sequence[object]) -> str:
    return orjson.dumps(values).decode()


def to_svg(architecture: Architecture, tasks: Sequence[str]) -> str:
    """From the features at the bottom to the tasks at the top; lines are the gates."""
    (width, height), (gap_x, gap_y) = BOX, GAP
    columns = max(len(architecture.experts), len(tasks))
    depth = max(len(blocks) for blocks in architecture.experts) + 3
    span = columns * (width + gap_x) + gap_x
    rise = depth * (height + gap_y) + gap_y
    parts: list[str] = []

    def place(column: int, of: int, level: int) -> tuple[float, float]:
        centre = span * (column + 0.5) / of
        return centre, rise - gap_y - height - level * (height + gap_y)

    def box(text: str, at: tuple[float, float]) -> None:
        x, y = at
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width}" height="{height}" rx="4" '
            f'fill="{FILL}" stroke="{LINE}"/><text x="{x:.1f}" y="{y + 16:.1f}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )

    def line(start: tuple[float, float], end: tuple[float, float]) -> None:
        parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" '
            f'y2="{end[1] + height:.1f}" stroke="{LINE}"/>'
        )

    bottom = place(0, 1, 0)
    box(f"interaction: {architecture.interaction}", bottom)
    tops = []
    for number, blocks in enumerate(architecture.experts):
        below = bottom
        for level, name in enumerate(blocks, 1):
            here = place(number, len(architecture.experts), level)
            line(below, here)
            box(name, here)
            below = here
        tops.append(below)
    for task, name in enumerate(tasks):
        here = place(task, len(tasks), depth - 1)
        chosen = (
            architecture.selected[task] if task < len(architecture.selected) else range(len(tops))
        )
        for number in chosen:
            line(tops[number], here)
        box(name, here)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {span} {rise}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="{INK}">{"".join(parts)}</svg>'
    )
