"""The experiment on unseen sources; prints its tables.

    python -m benchmarks.unseen --out var/unseen --seeds 5

Every run (a family of arrivals, a rule, a seed) is a line of ``raw.jsonl``: an interrupted
experiment goes on after the last one, and more seeds can be added.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.unseen.market import make_market
from benchmarks.unseen.measures import measure
from benchmarks.unseen.plan import UnseenPlan
from benchmarks.unseen.play import play
from benchmarks.unseen.rules import RULES
from benchmarks.unseen.table import tables
from trainer.experiments.raw import RawStore


def main(
    out: Annotated[Path, typer.Option(help="Folder of the raw results.")] = Path("var/unseen"),
    seeds: Annotated[int, typer.Option(min=1, help="Use seeds 1 to N.")] = 5,
    part: Annotated[
        str, typer.Option(help="Family of arrivals to run, for processes that share a folder.")
    ] = "",
    rules: Annotated[
        str, typer.Option(help="Names of rules, with commas between them; all if empty.")
    ] = "",
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Few rows, for a trial.")] = False,
    report_only: Annotated[bool, typer.Option("--report", help="Print the tables only.")] = False,
) -> None:
    """Run what is missing, and print the tables."""
    torch.set_num_threads(1)
    plan = UnseenPlan.quick() if quick else UnseenPlan()
    families = [name for name in plan.families() if part in ("", name)]
    store = RawStore(out, plan.fingerprint(), f"raw-{part}" if part else "raw")
    for seed in range(1, seeds + 1):
        for family in families:
            wanted = [rule for rule in RULES if not rules or rule in rules.split(",")]
            left = [rule for rule in wanted if (f"{family}/{rule}", seed) not in store.done]
            if report_only or not left:
                continue
            market = make_market(plan, family, seed)
            for rule in left:
                measured = measure(market, play(market, RULES[rule], plan, seed), plan)
                store.put(f"{family}/{rule}", seed, measured)
                typer.echo(f"{family} {rule} seed {seed}: {measured.figures['run.value']:.2f} %")
    typer.echo(tables(store.done, families))


if __name__ == "__main__":
    typer.run(main)
