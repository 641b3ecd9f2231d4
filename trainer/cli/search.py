"""``weir search``: searches an architecture for the teacher."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.experiments import SIMULATED, STANDARD, Data, Market, Spec, source_of

if TYPE_CHECKING:
    from rich.table import Table

    from trainer.search.run import Tried


def register(app: typer.Typer) -> None:
    """Add ``search`` to the command line."""
    app.command()(search)


AgainstRandom = Annotated[
    bool,
    typer.Option(
        "--against-random", help="Also try random architectures, for the time that this takes."
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Search small nets on few rows, for a trial run.")
]


def search(
    ctx: typer.Context,
    data: Data = SIMULATED,
    market: Market = STANDARD,
    spec: Spec = "openrtb",
    rows: Annotated[int, typer.Option(min=200, help="Training rows.")] = 50_000,
    steps: Annotated[int, typer.Option(min=10, help="Steps of the search.")] = 1_500,
    experts: Annotated[int, typer.Option(min=1, help="Experts of the net.")] = 4,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of each expert.")] = 2,
    selected: Annotated[int, typer.Option(min=1, help="Experts that each task keeps.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("var/search"),
    *,
    against_random: AgainstRandom = False,
    quick: Quick = False,
) -> None:
    """Search an architecture: AutoMTL's differentiable search.

    Writes what was found to OUT/architecture.toml, which can be put into weir.toml, and a picture
    to OUT/architecture.svg. A search that is interrupted resumes.
    """
    # torch takes seconds to import, and other commands must not pay for it.
    from dataclasses import replace  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    from trainer.pipeline.train import default_progress  # noqa: PLC0415
    from trainer.search.picture import to_svg, to_toml  # noqa: PLC0415
    from trainer.search.run import run_search  # noqa: PLC0415
    from trainer.search.search import SearchPlan  # noqa: PLC0415
    from trainer.training.config import TrainConfig  # noqa: PLC0415
    from trainer.training.context import FitContext  # noqa: PLC0415
    from trainer.zoo.measure import world_of  # noqa: PLC0415
    from trainer.zoo.plan import ZooPlan  # noqa: PLC0415

    zoo = ZooPlan.quick() if quick else ZooPlan().with_options(rows=rows)
    config = TrainConfig.of(ctx.obj.training, quick=quick)
    if quick:
        config = replace(config, teacher=zoo.config.teacher)
    plan = SearchPlan(experts, blocks, selected, min(steps, 30) if quick else steps)
    source = source_of(data, spec, ctx.obj.task_set, market)
    with default_progress() as progress:
        tried = run_search(
            world_of(source, zoo, seed),
            plan,
            config,
            FitContext(seed, progress),
            checkpoint=out / "checkpoint",
            against_random=against_random,
        )
    found = tried[0].architecture
    assert found is not None
    out.mkdir(parents=True, exist_ok=True)
    (out / "architecture.toml").write_text(to_toml(found))
    (out / "architecture.svg").write_text(to_svg(found, source.tasks.names))
    console = Console()
    console.print(shown(tried))
    console.print(f"wrote {out}/architecture.toml, architecture.svg")


def shown(tried: "Sequence[Tried]") -> "Table":
    """What was tried, for the terminal."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("net", "validation log-loss", "test log-loss", "s", "tried")
    for each in tried:
        table.add_row(
            *(each.name, f"{each.valid:.5f}", f"{each.test:.5f}"),
            *(f"{each.seconds:.0f}", str(each.tried)),
        )
    return table
