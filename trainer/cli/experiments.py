"""``weir experiments``: experiments on the filter, reported as JSON, HTML and Markdown."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.tasks import TaskSet

if TYPE_CHECKING:
    from rich.table import Table

    from trainer.experiments.data import Source
    from trainer.experiments.plan import Plan
    from trainer.experiments.raw import RawStore
    from trainer.experiments.report.report import Report

SIMULATED, STANDARD = "simulated", "standard"
FULL_SEEDS, QUICK_SEEDS = 5, 2
NO_TRUTH = (
    "The true probabilities of these rows are unknown: error finding is left out, and values and "
    "the oracle's ranking use the events that happened."
)


def register(app: typer.Typer) -> None:
    """Add ``experiments`` to the command line."""
    app.command()(experiments)


Data = Annotated[
    str,
    typer.Option(
        help="'simulated', a Parquet file or folder of examples, a CSV file, or JD's slices."
    ),
]
Spec = Annotated[
    str, typer.Option(help="Name or path of the feature spec of the examples or the CSV file.")
]
Market = Annotated[
    str,
    typer.Option(
        help="Family of simulated markets: standard, forest, clusters, smooth, sparse or channels."
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, help="Use seeds 1 to N; a finished run can be extended."),
]
Teacher = Annotated[
    str,
    typer.Option(
        help="Teacher of the sweeps, as in the paper: mlp, transformer, ple-mlp or ple-transformer."
    ),
]
Out = Annotated[
    Path, typer.Option(help="Folder of the report; an interrupted run resumes from it.")
]
Part = Annotated[
    str,
    typer.Option(help="With I/K, run every K-th unit only, for K processes that share a folder."),
]
Only = Annotated[
    str, typer.Option(help="Run only the units whose names begin so, such as markets/.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Train small nets and do few runs, for a trial run.")
]


def experiments(
    ctx: typer.Context,
    data: Data = SIMULATED,
    market: Market = STANDARD,
    spec: Spec = "openrtb",
    seeds: Seeds = None,
    teacher: Teacher = "ple-mlp",
    out: Out = Path("var/experiments"),
    part: Part = "1/1",
    only: Only = "",
    *,
    quick: Quick = False,
) -> None:
    """Run the experiments and write the report; finished units are not run again."""
    # torch takes seconds to import, and other commands must not pay for it.
    from models.features import FeatureSpec  # noqa: PLC0415
    from trainer.experiments.plan import TEACHERS, Plan  # noqa: PLC0415
    from trainer.experiments.raw import RawStore  # noqa: PLC0415
    from trainer.experiments.runs import named, run, share_of, units  # noqa: PLC0415
    from trainer.pipeline.train import default_progress  # noqa: PLC0415

    if teacher not in TEACHERS:
        raise typer.BadParameter(
            f"--teacher: {teacher!r} is unknown; choose one of {', '.join(TEACHERS)}"
        )
    preset = Plan.quick if quick else Plan.full
    plan = preset(seeds or (QUICK_SEEDS if quick else FULL_SEEDS), teacher)
    source = source_of(data, spec, ctx.obj.task_set, market)
    simulated = FeatureSpec.load(spec if data == SIMULATED else "openrtb")
    number, parts = part_of(part)
    name = "raw" if parts == 1 else f"raw-{number}"
    store = RawStore(out, plan.fingerprint(source.name), name)
    with default_progress() as progress:
        todo = share_of(named(units(source, plan, simulated), only), number, parts)
        run(todo, store, progress)
    command = f"weir experiments --data {data} --seeds {plan.seeds} --teacher {teacher}"
    command += f" --market {market}" * (market != STANDARD) + " --quick" * quick
    report = _report(source, plan, store, command)
    _write(report, out)
    _print(report, out)


def _print(report: "Report", out: Path) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    console.print(_summary(report))
    console.print(f"wrote {out}/report.json, report.html, report.md")


def part_of(text: str) -> tuple[int, int]:
    """Number of the part, from 1, and number of parts."""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise typer.BadParameter(f"--part: {text!r} is not I/K with I from 1 to K, for example 1/2")
    return int(found[1]), int(found[2])


def source_of(data: str, spec: str, tasks: TaskSet, market: str = STANDARD) -> "Source":
    """The data of an experiment: simulated, JD, a store or a CSV file.

    Raises:
        MarketError: If no family of simulated markets has that name.
    """
    from models.features import FeatureSpec  # noqa: PLC0415
    from trainer.experiments.simulated import SimulatedSource  # noqa: PLC0415
    from trainer.experiments.stores import StoreSource, jd_source  # noqa: PLC0415
    from trainer.simulation.markets import market_of  # noqa: PLC0415
    from trainer.traffic.jd_slices import is_slice  # noqa: PLC0415

    if data == SIMULATED:
        return SimulatedSource(FeatureSpec.load(spec), market=market_of(market))
    if is_slice(Path(data)):
        return jd_source(Path(data))
    return StoreSource.read(Path(data), FeatureSpec.load(spec), tasks)


def _report(source: "Source", plan: "Plan", store: "RawStore", command: str) -> "Report":
    from dataclasses import asdict  # noqa: PLC0415

    from trainer.experiments.report.report import About, make_report  # noqa: PLC0415
    from trainer.experiments.report.results import Results  # noqa: PLC0415

    results = Results(store.done)
    seeds = sorted({seed for _, seed in store.done})
    notes = [] if results.names("error_finding") else [NO_TRUTH]
    about = About(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        preset=plan.preset,
        source=source.name,
        teacher=plan.teacher,
        seeds=seeds,
        rate=plan.rate,
        direct_share=plan.share,
        tasks=list(source.tasks.names),
        plan=asdict(plan),
        notes=notes,
    )
    return make_report(results, about, source.tasks, plan)


def _write(report: "Report", out: Path) -> None:
    from trainer.experiments.report.pages import html_page, markdown_page, plots  # noqa: PLC0415

    (out / "report.json").write_text(report.model_dump_json(indent=1))
    (out / "report.html").write_text(html_page(report))
    (out / "report.md").write_text(markdown_page(report))
    for plot in plots(report):
        (out / plot.file).parent.mkdir(exist_ok=True)
        (out / plot.file).write_text(plot.svg)


def _summary(report: "Report") -> "Table":
    """The bars as a table for the terminal."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("figure", "value", "bar", "verdict")
    for bar in report.bars:
        value = "-" if bar.value is None else f"{bar.value.mean:.4f}"
        table.add_row(bar.key, value, bar.asked, bar.verdict)
    return table
