"""``weir zoo``: compares the kinds of nets on equal budgets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from models.nets.config import KINDS
from trainer.cli.experiments import SIMULATED, STANDARD, Data, Market, Spec, part_of, source_of

if TYPE_CHECKING:
    import rich.table

    from trainer.experiments.report.table import Table


def register(app: typer.Typer) -> None:
    """Add ``zoo`` to the command line."""
    app.command()(zoo)


ALL_KINDS: Final = ",".join(KINDS)
Kinds = Annotated[
    str, typer.Option(help="Kinds of nets to compare, with commas between; all by default.")
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Use seeds 1 to N; a finished run can be extended.")
]
Trials = Annotated[
    int | None,
    typer.Option(min=1, help="Settings to try for each net; the first ones are the defaults."),
]
Out = Annotated[
    Path, typer.Option(help="Folder of the report; an interrupted run resumes from it.")
]
Part = Annotated[
    str,
    typer.Option(help="With I/K, run every K-th unit only, for K processes that share a folder."),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Train small nets on few rows, for a trial run.")
]


def zoo(
    ctx: typer.Context,
    data: Data = SIMULATED,
    market: Market = STANDARD,
    spec: Spec = "openrtb",
    kinds: Kinds = ALL_KINDS,
    seeds: Seeds = None,
    trials: Trials = None,
    rows: Annotated[int | None, typer.Option(min=200, help="Training rows.")] = None,
    out: Out = Path("var/zoo"),
    part: Part = "1/1",
    *,
    quick: Quick = False,
) -> None:
    """Compare the nets of the papers with each other, with LightGBM and with the truth.

    Every net has the same rows, the same schedule and the same number of tuning trials, chosen on
    validation rows. Finished nets are not run again.
    """
    # torch takes seconds to import, and other commands must not pay for it.
    from rich.console import Console  # noqa: PLC0415

    from trainer.pipeline.train import default_progress  # noqa: PLC0415
    from trainer.zoo.plan import ZooPlan  # noqa: PLC0415
    from trainer.zoo.run import compare  # noqa: PLC0415

    plan = (ZooPlan.quick() if quick else ZooPlan()).with_options(
        kinds=kinds.split(","), seeds=seeds, trials=trials, rows=rows
    )
    source = source_of(data, spec, ctx.obj.task_set, market)
    command = f"weir zoo --data {data} --seeds {plan.seeds} --trials {plan.trials}"
    command += f" --market {market}" * (market != STANDARD)
    with default_progress() as progress:
        tables = compare(source, plan, out, part_of(part), progress, command + " --quick" * quick)
    console = Console()
    console.print(terminal(tables[0]))
    console.print(f"wrote {out}/zoo.json, zoo.html, zoo.md")


def terminal(table: "Table") -> "rich.table.Table":
    """A table of the report for the terminal."""
    import rich.table  # noqa: PLC0415

    shown = rich.table.Table(*table.head, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    return shown
