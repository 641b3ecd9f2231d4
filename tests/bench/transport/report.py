"""What the rounds come to: medians, ratios, a table for people and JSON for machines."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from rich.table import Table

from tests.bench.transport.contender import EXACTLY_ONCE, WEIR
from tests.bench.transport.rounds import Round

PEERS: Final = ("stock_faust", "quix_streams", "aiokafka_loop", "confluent_loop")


def throughput(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians per contender, and the ratios of those that ran.

    A ratio is the median of the ratios round by round, so that what slows the machine down for a
    while slows both sides of it.
    """
    by_name: dict[str, list[Round]] = {}
    for each in rounds:
        by_name.setdefault(each.contender, []).append(each)
    contenders = {
        name: {
            "requests_per_second": round(median(r.per_second for r in own), 1),
            "cpu_us_per_request": round(median(r.cpu_us for r in own), 2),
            "peak_mb": round(median(r.peak_bytes for r in own) / 1e6, 1),
            "rounds": [round(r.per_second, 1) for r in own],
            "exact": all(r.audit.exact for r in own),
        }
        for name, own in by_name.items()
    }
    ratios = {peer: _ratio(by_name, WEIR, peer) for peer in PEERS}
    ratios["exactly_once"] = _ratio(by_name, EXACTLY_ONCE, WEIR)
    return {
        "contenders": contenders,
        "ratios": {name: ratio for name, ratio in ratios.items() if ratio is not None},
    }


def _ratio(by_name: dict[str, list[Round]], above: str, below: str) -> float | None:
    if above not in by_name or below not in by_name:
        return None
    pairs = zip(by_name[above], by_name[below], strict=False)
    return round(median(a.per_second / b.per_second for a, b in pairs), 3)


def throughput_table(figures: dict[str, Any]) -> Table:
    """The table of contenders."""
    table = Table("contender", "requests/s", "us CPU/request", "peak MB", "Weir is", "exact")
    names = sorted(
        figures["contenders"], key=lambda n: -figures["contenders"][n]["requests_per_second"]
    )
    for name in names:
        row = figures["contenders"][name]
        ratio = figures["ratios"].get(name)
        table.add_row(
            name,
            f"{row['requests_per_second']:,.0f}",
            f"{row['cpu_us_per_request']:.1f}",
            f"{row['peak_mb']:.0f}",
            "" if ratio is None else f"{ratio:.2f}x",
            "yes" if row["exact"] else "NO",
        )
    return table
