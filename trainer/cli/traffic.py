"""``weir publish`` (simulated, jd, jsonl) and ``weir simulate``."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from models.settings import Settings
from models.tasks import TaskSet

if TYPE_CHECKING:
    from trainer.simulation.arrivals import ArrivalShape
    from trainer.simulation.traffic import Traffic

Rate = Annotated[
    float, typer.Option(min=0, help="Requests per second; 0 publishes as fast as possible.")
]
TimeScale = Annotated[
    float,
    typer.Option(
        min=1e-9, help="Factor by which the delays of outcomes are shorter than in real time."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the simulation.")]
Start = Annotated[
    int,
    typer.Option(min=0, help="Number of the first request; 200,000 requests make a simulated day."),
]
Drift = Annotated[
    float, typer.Option(help="Drift of the users' preferences, in radians per simulated day.")
]
Arriving = Annotated[
    str,
    typer.Option(
        help="Sources that arrive and leave: 'frequent' (many small ones), 'rare' (few large "
        "ones), or '' for none."
    ),
]
Market = Annotated[
    str,
    typer.Option(
        help="Family of simulated markets: standard, forest, clusters, smooth, sparse or channels."
    ),
]
Outcomes = Annotated[
    bool,
    typer.Option(help="Also simulate the consumer of the pass topic, and publish its outcomes."),
]


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    publish = typer.Typer(help="Publish simulated or real requests.", no_args_is_help=True)
    for command in (simulated, jd, jsonl):
        publish.command()(command)
    app.add_typer(publish, name="publish")
    app.command()(simulate)


def simulated(
    ctx: typer.Context,
    requests: Annotated[int | None, typer.Option(min=1, help="Number of requests.")] = None,
    rate: Rate = 1000.0,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds to publish for, instead of --requests.")
    ] = None,
    seed: Seed = 1,
    outcomes: Outcomes = True,
    time_scale: TimeScale = 1.0,
    drift: Drift = 0.0,
    arrivals: Arriving = "",
    start: Start = 0,
    market: Market = "standard",
) -> None:
    """Publish simulated requests, and the outcomes of those that pass."""
    from trainer.simulation.markets import market_of  # noqa: PLC0415
    from trainer.simulation.simulator import BLOCK, Simulator  # noqa: PLC0415
    from trainer.traffic.examples import batches  # noqa: PLC0415

    count = requests if requests is not None else round(rate * (seconds or 0))
    if count < 1:
        raise typer.BadParameter("give --requests N, or --seconds S with a --rate above 0")
    simulator = Simulator(seed, drift, arrivals=_arrivals(arrivals), market=market_of(market))
    traffic = batches(simulator, start, count, BLOCK)
    _publish(ctx.obj, traffic, simulator.tasks, count, rate, time_scale, outcomes)


def jd(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Folder of the JD files (bo_action.csv.gz and others).")
    ],
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Requests per second, instead of their own timestamps."),
    ] = None,
    outcomes: Outcomes = True,
    time_scale: TimeScale = 150_000.0,
) -> None:
    """Publish JD's real requests at their own (scaled) times, and their real outcomes."""
    from trainer.traffic.jd import JdError, JdRequests  # noqa: PLC0415

    try:
        loaded = JdRequests.load(folder, ctx.obj.task_set)
    except JdError as error:
        raise typer.BadParameter(str(error)) from error
    _publish(
        ctx.obj, loaded.batches(), loaded.tasks, len(loaded.traffic), rate, time_scale, outcomes
    )


def jsonl(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(help="File of requests: .jsonl or .jsonl.gz, one per line, or .parquet."),
    ],
    rate: Rate = 0.0,
) -> None:
    """Publish the requests of a file, including malformed ones, which the filter rejects."""
    from models.data.request_files import RequestFileError  # noqa: PLC0415
    from trainer.traffic.campaign import run_campaign  # noqa: PLC0415
    from trainer.traffic.jsonl import shipments  # noqa: PLC0415

    try:
        _report(asyncio.run(run_campaign(ctx.obj, shipments(file, rate))))
    except RequestFileError as error:
        raise typer.BadParameter(str(error)) from error


def simulate(
    requests: Annotated[int, typer.Option(min=1, help="Number of requests.")] = 100_000,
    start: Start = 0,
    seed: Seed = 1,
    drift: Drift = 0.0,
    arrivals: Arriving = "",
    market: Market = "standard",
    jsonl: Annotated[
        Path | None, typer.Option(help="File that the requests are written to, as JSON Lines.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file for examples of the requests, with their true probabilities."
        ),
    ] = None,
    spec: Annotated[
        str, typer.Option(help="Name or path of the feature spec of the examples.")
    ] = "openrtb",
) -> None:
    """Write simulated requests to files: as JSON Lines, as examples with known truth, or both."""
    from rich.console import Console  # noqa: PLC0415

    from models.features import FeatureSpec  # noqa: PLC0415
    from trainer.simulation.markets import market_of  # noqa: PLC0415
    from trainer.simulation.simulator import Simulator  # noqa: PLC0415
    from trainer.traffic.examples import write_examples, write_requests  # noqa: PLC0415

    if jsonl is None and examples is None:
        raise typer.BadParameter("give --jsonl FILE, --examples FILE, or both")
    started = time.monotonic()
    simulator = Simulator(seed, drift, arrivals=_arrivals(arrivals), market=market_of(market))
    with Console(stderr=True).status(f"simulating {requests:,} requests"):
        if jsonl is not None:
            write_requests(simulator, requests, jsonl, start)
        if examples is not None:
            write_examples(simulator, requests, examples, FeatureSpec.load(spec), start)
    _report({"requests": requests, "seconds": round(time.monotonic() - started, 3)})


def _arrivals(name: str) -> "ArrivalShape | None":
    """The shape with this name; None for the fixed inventory."""
    from trainer.simulation.arrivals import SHAPES  # noqa: PLC0415

    if name and name not in SHAPES:
        raise typer.BadParameter(
            f"--arrivals: {name!r} is unknown; choose one of {', '.join(SHAPES)}, or leave it out"
        )
    return SHAPES[name] if name else None


def _publish(
    settings: Settings,
    batches: Iterable["Traffic"],
    tasks: TaskSet,
    total: int,
    rate: float | None,
    time_scale: float,
    outcomes: bool,
) -> None:
    """Publish at ``rate``, or at the requests' own scaled times if it is None."""
    from trainer.traffic.campaign import registered, run_campaign  # noqa: PLC0415
    from trainer.traffic.downstream import Downstream  # noqa: PLC0415
    from trainer.traffic.publish import evenly, on_their_times  # noqa: PLC0415

    async def run() -> dict[str, Any]:
        downstream = Downstream(settings, tasks, time_scale) if outcomes else None
        known = registered(downstream, batches)
        shipments = on_their_times(known, time_scale) if rate is None else evenly(known, rate)
        return await run_campaign(settings, shipments, downstream, time_scale, total)

    _report(asyncio.run(run()))


def _report(summary: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(summary))
