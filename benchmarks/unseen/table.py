"""Tables of the experiment on unseen sources, in Markdown."""

import math
from collections.abc import Mapping, Sequence

from benchmarks.unseen.rules import RULES
from trainer.experiments.raw import Measured
from trainer.experiments.report.stats import Estimate, estimate, paired

HEAD = (
    "| rule | value passed, % of the truth's | ahead of greedy, points | behind the oracle, points "
    "| of arrived sources, % | rounds until a good one has its share | good ones that get it, % |"
)
Done = Mapping[tuple[str, int], Measured]


def tables(done: Done, families: Sequence[str]) -> str:
    """One table per family: means over seeds and 95 % intervals, differences within the seed."""
    parts = []
    for family in families:
        rows = [row for rule in RULES if (row := _row(done, family, rule))]
        parts.append("\n".join([f"### {family}", HEAD, "| --- " * 7 + "|", *rows]))
    return "\n\n".join(parts)


def by_seed(done: Done, family: str, rule: str, figure: str) -> dict[int, float]:
    """One figure of one rule by seed; a figure without a value is left out."""
    found = {
        seed: measured.figures[f"run.{figure}"]
        for (unit, seed), measured in done.items()
        if unit == f"{family}/{rule}"
    }
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def _row(done: Done, family: str, rule: str) -> str:
    value = by_seed(done, family, rule, "value")
    if not value:
        return ""
    greedy, oracle = (by_seed(done, family, name, "value") for name in ("greedy", "oracle"))
    cells = [
        _text(estimate(value)),
        "" if rule == "greedy" or not greedy else _text(paired(value, greedy), signed=True),
        "" if rule == "oracle" or not oracle else _text(paired(oracle, value)),
        *(_of(by_seed(done, family, rule, name)) for name in ("new", "wait", "reached")),
    ]
    return f"| {rule} | {' | '.join(cells)} |"


def _of(values: Mapping[int, float]) -> str:
    return _text(estimate(values)) if values else "-"


def _text(found: Estimate, *, signed: bool = False) -> str:
    mean = f"{found.mean:+.2f}" if signed else f"{found.mean:.2f}"
    return mean if math.isnan(found.half) else f"{mean} ± {found.half:.2f}"
