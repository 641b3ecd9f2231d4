"""Report of the runs: medians, ratios, bars; as tables and JSON."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from rich.box import MARKDOWN
from rich.table import Table

from benchmarks.transport.bar import Bar
from benchmarks.transport.contender import EXACTLY_ONCE, TRANSACTIONAL_LOOP, WEIR
from benchmarks.transport.latency.report import latency_bars, latency_table
from benchmarks.transport.rounds import Round

PEERS: Final = ("stock_faust", "quix_streams", "aiokafka_loop", "confluent_loop")


def throughput(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians per contender, and the ratios of those that ran.

    A ratio is the median of the ratios of each round, so that a temporary slowdown of the machine
    affects both sides of it.
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
    ratios[TRANSACTIONAL_LOOP] = _ratio(by_name, EXACTLY_ONCE, TRANSACTIONAL_LOOP)
    return {
        "contenders": contenders,
        "ratios": {name: ratio for name, ratio in ratios.items() if ratio is not None},
    }


def _ratio(by_name: dict[str, list[Round]], above: str, below: str) -> float | None:
    if above not in by_name or below not in by_name:
        return None
    pairs = zip(by_name[above], by_name[below], strict=True)
    return round(median(a.per_second / b.per_second for a, b in pairs), 3)


_RATIO_BARS: Final = {
    "stock_faust": (8.0, 12.0),
    "quix_streams": (1.5, 3.0),
    "aiokafka_loop": (0.90, 1.0),
    "confluent_loop": (0.95, 1.05),
    "exactly_once": (0.95, 0.98),
}


def bars(figures: dict[str, Any]) -> Iterator[Bar]:
    """The bars of those figures that were measured."""
    weir = figures["contenders"].get(WEIR)
    if weir is not None:
        yield Bar("one worker, requests/s", weir["requests_per_second"], 22_000, 35_000, False)
    for name, (bar, aim) in _RATIO_BARS.items():
        if name in figures["ratios"]:
            yield Bar(f"ratio {name}", figures["ratios"][name], bar, aim, False)
    yield from latency_bars(figures["latency"])
    for name, memory in figures["memory"].items():
        yield Bar(f"memory growth, {name}", memory["growth_percent"], 2.0, 0.0, True)


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    """Tables of all measurements."""
    if figures["contenders"]:
        yield _throughput_table(figures)
    if figures["latency"]:
        yield latency_table(figures["latency"])
    table = Table("figure", "value", "bar", "aim", "", box=MARKDOWN)
    for bar in bars(figures):
        sign = "<=" if bar.at_most else ">="
        verdict = "held" if bar.held else "MISSED"
        table.add_row(
            bar.figure, f"{bar.value:,.2f}", f"{sign} {bar.bar:,g}", f"{bar.aim:,g}", verdict
        )
    yield table


def _throughput_table(figures: dict[str, Any]) -> Table:
    titles = ("contender", "requests/s", "us CPU/request", "peak MB", "Weir is", "exact")
    table = Table(*titles, box=MARKDOWN)
    rows = figures["contenders"].items()
    for name, row in sorted(rows, key=lambda item: -item[1]["requests_per_second"]):
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
