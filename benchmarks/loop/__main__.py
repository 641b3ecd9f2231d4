"""The closed loop on a market that drifts: does it pay, and what do weighting and exploration add?

    python -m benchmarks.loop [--out FILE]

Every arm is a whole deployment on a broker of its own: two workers, a feedback worker, a trainer,
and the same simulated market, whose effects turn away from those that the shipped model learned.
Each arm runs until its workers serve what the wanted rebuilds published last, and have decided
enough with it. The frozen first model then passes as many of these requests, and the difference of
the true reward that passed is paired by request. The exit status is 1 if an arm does not lie above
the frozen model outside its interval.
"""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.loop.arm import Arm, Market, play
from benchmarks.loop.reward import Comparison, compare

EXPLORE: Final = {"policy.explore": 0.01}
ARMS: Final = {
    "both": Arm("exploration and weighting", EXPLORE),
    "explore": Arm("exploration only", {**EXPLORE, "training.propensity_clip": 1.0}),
    "neither": Arm("neither (the defaults)", {}),
}


def table(comparisons: list[tuple[Arm, Comparison]]) -> Table:
    """The arms side by side."""
    shown = Table(title="true reward passed: the last version, and the frozen first model")
    columns = ("arm", "published", "requests", "passed", "frozen", "loop", "gain", "of the best")
    for column in columns:
        shown.add_column(column, justify="left" if column == "arm" else "right")
    for arm, each in comparisons:
        shown.add_row(
            arm.name,
            f"{each.rebuilds.get('published', 0)} of {sum(each.rebuilds.values())}",
            f"{each.requests:,}",
            f"{each.passed:.3f}",
            f"{each.frozen:.4f}",
            f"{each.loop:.4f}",
            f"{each.gain:+.2%} ± {each.half:.2%}",
            f"{each.frozen / each.oracle:.1%} -> {each.loop / each.oracle:.1%}",
        )
    return shown


def main() -> None:
    """Run the arms one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=["both", "neither"], choices=list(ARMS))
    parser.add_argument("--folder", type=Path, help="folder of logs and stores; a temporary one")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    for field in fields(Market):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    market = Market(**{field.name: options[field.name] for field in fields(Market)})
    console = Console()
    compared: list[tuple[Arm, Comparison]] = []
    with tempfile.TemporaryDirectory(prefix="weir-loop-") as temporary:
        folder = options["folder"] or Path(temporary)
        for name in options["arms"]:
            arm = ARMS[name]
            with console.status(f"{arm.name}: two workers, feedback and trainer"):
                played = asyncio.run(play(arm, market, folder / name))
                compared.append((arm, asyncio.run(compare(played, market))))
            console.print(f"{arm.name}: {compared[-1][1].seconds:.0f} s")
    console.print(table(compared))
    if options["out"] is not None:
        figures = {arm.name: each.figures() for arm, each in compared}
        options["out"].write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    missed = [arm.name for arm, each in compared if not each.shown]
    for name in missed:
        console.print(f"[red]missed: {name} is not shown to lie above the frozen model[/red]")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
