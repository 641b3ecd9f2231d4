"""`weir replay`: decides historical requests."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import Rate, print_json


def replay(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(help="Requests: a .jsonl or .parquet file, or the name of a topic.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the decisions and the summary.")] = Path(
        "var/replay"
    ),
    artifact: Annotated[
        str | None,
        typer.Option(
            help="Model artifact: a folder, a URL, or pretrained:NAME. Overrides model.artifact."
        ),
    ] = None,
    rate: Rate = None,
    outcomes: Annotated[
        str | None,
        typer.Option(
            help="Outcomes to evaluate the decisions with: a .jsonl file, or the name of a topic."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Replay a topic from this time on (ISO 8601, or milliseconds since the epoch).",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Replay a topic up to this time, exclusive (ISO 8601, or milliseconds since the "
            "epoch).",
        ),
    ] = None,
    chunk_size: Annotated[
        int,
        typer.Option(min=1, help="Requests per chunk. The decisions do not depend on it."),
    ] = 1000,
) -> None:
    """Decide historical requests as a worker would.

    Runs the code of a worker on requests from a file or a topic, and writes every decision and a
    summary to a folder. Nothing is published.
    """
    from rich.console import Console  # noqa: PLC0415

    from stream.replay.replay import ReplayOptions, run_replay  # noqa: PLC0415

    settings = ctx.obj.override({"policy.rate": rate, "model.artifact": artifact})
    options = ReplayOptions(source, out, outcomes, start, end, chunk_size)
    with Console(stderr=True).status(f"replaying {source}") as status:
        summary = asyncio.run(
            run_replay(
                settings, options, lambda done: status.update(f"replayed {done:,} of {source}")
            )
        )
    print_json(summary)
