"""The rate controller over seeded traffic: ``python -m benchmarks.rate [REQUESTS]``.

Prints the table against bars and aims, and writes ``var/bench/rate.json``,
``docs/rate-frontier.svg`` and the table of the frontier in ``docs/rate-control.md``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.rate import capacity, fleet, frontier, held, scenarios
from benchmarks.rate.bars import BARS, flatten

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- frontier: written by make bench-rate -->\n", "<!-- end of frontier -->"


def measure(count: int) -> dict[str, Any]:
    """Measure all figures, under the keys of ``rate.json``."""
    points, own = frontier.frontier(count), "own_share_reward_percent"
    return {
        **held.measure(count),
        **fleet.measure(count),
        **capacity.measure(),
        **scenarios.measure(),
        "frontier_lead_percent": frontier.leads(points, "reward_percent"),
        "frontier_lead_at_own_share_percent": frontier.leads(points, own),
        "frontier_lead_at_own_share_percent_within_5_points": frontier.leads(points, own, 5.0),
        "frontier": points,
    }


def show(figures: dict[str, Any]) -> None:
    """Print each figure with its bar and aim."""
    table = Table("key", "figure", "bar", "aim", "")
    for key, value in flatten(figures).items():
        bar = BARS.get(key)
        if bar is None:
            table.add_row(key, f"{value:.4g}", "", "", "")
        else:
            table.add_row(key, f"{value:.4g}", f"{bar.bar:g}", f"{bar.aim:g}", bar.rate(value))
    console = Console()
    console.print(table)
    console.print(frontier.markdown(figures["frontier"]))


def write_docs(points: list[dict[str, Any]]) -> None:
    """Replace the frontier's plot and table in the docs."""
    frontier.draw(points, ROOT / "docs" / "rate-frontier.svg")
    page = ROOT / "docs" / "rate-control.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + frontier.markdown(points) + END + after)


def main() -> None:
    """Measure, print and write all figures."""
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 400_000)
    show(figures)
    target = ROOT / "var" / "bench" / "rate.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    write_docs(figures["frontier"])


if __name__ == "__main__":
    main()
