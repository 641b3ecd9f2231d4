"""`weir trace summary`: where the milliseconds of a trace go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.process.logs import escaped
from stream.trace.otlp import read
from stream.trace.summary import Row, Summary, summarize

if TYPE_CHECKING:
    from rich.table import Table

trace = typer.Typer(name="trace", help="Read what `weir worker --trace FILE` wrote.")


@trace.callback()
def _group() -> None:
    """Read what `weir worker --trace FILE` wrote."""


@trace.command()
def summary(
    file: Annotated[Path, typer.Argument(help="File that a worker wrote.")],
) -> None:
    """Print where the time of a request goes, phase by phase, and what held it up."""
    from rich.console import Console  # noqa: PLC0415 - only where something is printed

    found = summarize(read(file))
    console = Console()
    console.print(headline(found), highlight=False)
    for table in trace_tables(found):
        console.print(table)


def trace_tables(found: Summary, **options: Any) -> "list[Table]":
    """The phases of chunks, and what is no phase of one; `options` are those of rich's tables."""
    from rich.markup import escape  # noqa: PLC0415 - only where something is printed
    from rich.table import Table  # noqa: PLC0415

    figures = ("mean ms", "p50", "p99", "max")
    phases = Table("phase", "chunks", *figures, "in the slowest 1 %", **options)
    others = Table("request or pause", "number", *figures, **options)
    for table, rows in ((phases, found.phases), (others, found.others)):
        for row in rows:
            table.add_row(*map(escape, cells(row)))
    return [phases, others]


def headline(found: Summary) -> str:
    """How much the trace holds."""
    return (
        f"{found.requests:,} requests in {found.chunks:,} chunks, {found.seconds:,.1f} s; "
        "milliseconds of a request, its chunk's"
    )


def cells(row: Row) -> list[str]:
    """A row of the table."""
    figures = [row.mean_ms, row.p50_ms, row.p99_ms, row.max_ms]
    if row.slowest_ms is not None:
        figures.append(row.slowest_ms)
    return [escaped(row.name), f"{row.count:,}", *(f"{figure:.2f}" for figure in figures)]
