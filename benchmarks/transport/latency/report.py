"""Latencies as a table, and the bars that they have to hold."""

from collections.abc import Iterator
from typing import Any, Final

from rich.box import MARKDOWN
from rich.table import Table

from benchmarks.transport.bar import Bar
from benchmarks.transport.contender import EXACTLY_ONCE, WEIR
from benchmarks.transport.latency.side_by_side import FIGURES, LEVEL_LOAD, OWN_LOAD

_RATIO_BARS: Final = {WEIR: (1.2, 1.0), EXACTLY_ONCE: (1.0, 0.7)}
_RATIO_LOADS: Final = ("10,000", "20,000")
_OWN_BARS: Final = {WEIR: (40.0, 15.0), EXACTLY_ONCE: (100.0, 50.0)}
_NAMES: Final = {LEVEL_LOAD: "70 % of level", OWN_LOAD: "70 % of its own"}


def latency_bars(latency: dict[str, dict[str, Any]]) -> Iterator[Bar]:
    """The bars of those figures that were measured."""
    for name, (bar, aim) in _RATIO_BARS.items():
        for load in _RATIO_LOADS:
            row = latency.get(load, {}).get(name, {})
            if "p99_of_best_loop" in row:
                figure = f"p99 at {load}/s, {name} of the best loop"
                yield Bar(figure, row["p99_of_best_loop"], bar, aim, at_most=True)
    for name, (bar, aim) in _OWN_BARS.items():
        row = latency.get(OWN_LOAD, {}).get(name, {})
        if "p99_ms" in row:
            figure = f"p99 at {_NAMES[OWN_LOAD]}, {name}, ms"
            yield Bar(figure, row["p99_ms"], bar, aim, at_most=True)


def latency_table(latency: dict[str, dict[str, Any]]) -> Table:
    """One row per load and contender; medians over the rounds."""
    figures = ("p50 ms", "p99 ms", "p99.9 ms", "max ms")
    titles = ("load", "contender", "requests/s", *figures, "p99 of best loop", "warm")
    table = Table(*titles, box=MARKDOWN)
    for load, rows in latency.items():
        for name, row in sorted(rows.items(), key=lambda item: item[1].get("p99_ms", 1e9)):
            rate = f"{row['requests_per_second']:,.0f}"
            if "p99_ms" not in row:
                table.add_row(_NAMES.get(load, load), name, rate, "overloaded")
                continue
            ratio = row.get("p99_of_best_loop")
            table.add_row(
                _NAMES.get(load, load),
                name,
                rate,
                *(f"{row[figure]:.1f}" for figure in FIGURES),
                "" if ratio is None else f"{ratio:.2f}",
                "yes" if row["warm"] else "no",
            )
    return table
