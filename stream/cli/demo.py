"""`weir demo`: the whole system on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from models.process.termination import run_until_terminated
from models.settings import Settings
from stream.cli.options import Rate, print_json

if TYPE_CHECKING:
    from stream.demo.demo import DemoOptions

#: With --rebuild, traffic ends when a rebuilt model serves, and at the latest after this many.
REBUILD_REQUESTS: Final = 200_000


def demo(
    ctx: typer.Context,
    rate: Rate = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of intercept workers.")] = 2,
    requests: Annotated[
        int, typer.Option(min=1, help="Number of simulated requests to publish.")
    ] = 48_000,
    pace: Annotated[float, typer.Option(help="Simulated requests published per second.")] = 1200.0,
    backlog: Annotated[
        int | None,
        typer.Option(help="Publish this many requests before the workers start, and no more."),
    ] = None,
    jd: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the JD.com data set; publish its requests, not simulated ones."
        ),
    ] = None,
    *,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Also run the trainer, until a model that it rebuilt is serving."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed of the simulated traffic.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the logs and the summary.")] = Path(
        "var/demo"
    ),
    summary: Annotated[
        Path | None, typer.Option(help="Also write the summary to this file (JSON).")
    ] = None,
) -> None:
    """Run the whole system on this machine for about a minute.

    Starts the embedded broker, publishes simulated traffic, runs intercept and feedback workers,
    shows what they do, and verifies every request at the end.

    Ends with status 1 if a request is lost or duplicated, or the rate misses its target.
    """
    from stream.demo.demo import DemoOptions  # noqa: PLC0415
    from stream.replay.replay import write_summary  # noqa: PLC0415

    options = DemoOptions(
        folder=out,
        workers=workers,
        requests=backlog or (REBUILD_REQUESTS if rebuild else requests),
        requests_per_second=pace,
        backlog=backlog is not None,
        jd=jd,
        rebuild=rebuild,
        seed=seed,
    )
    found = _run(ctx.obj.override({"policy.rate": rate}), options)
    if summary is not None:
        write_summary(summary, found)
    print_json(found)
    if not found["ok"]:
        sys.exit(1)


def _run(settings: Settings, options: "DemoOptions") -> dict[str, Any]:
    """Run the demo, and return its summary."""
    from rich.console import Console  # noqa: PLC0415

    from stream.demo.demo import Demo  # noqa: PLC0415

    return run_until_terminated(Demo(settings, options, Console(stderr=True)).run())
