"""Tables of text for people; texts from topics and files are escaped."""

from collections.abc import Sequence
from typing import Any, Final

import typer

from models.process import logs

LIMIT: Final = 200
"""Bytes of a cell: the rest of a longer text is in the JSON."""


def as_text(value: Any) -> str:
    """One line for a value: fractions with four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return logs.one_line(str(value), LIMIT)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under titles; what has no value is left out: columns, and the line of titles."""
    cells = [[as_text(value) for value in row] for row in rows]
    used = [i for i in range(len(titles)) if any(row[i] for row in cells)]
    head = [titles[i] for i in used]
    table = [*([head] if any(head) else []), *([row[i] for i in used] for row in cells)]
    widths = [max(len(row[i]) for row in table) for i in range(len(used))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())
