"""`weir replay`: decides historical requests."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.options import Rate, print_json
from stream.cli.report import FailIf, print_report

if TYPE_CHECKING:
    from stream.replay.replay import Progress


Source = Annotated[
    str,
    typer.Argument(
        help="Requests: files (a path, a glob or a URL; .jsonl or .ndjson, or .gz or .zst of "
        "these, or .parquet), or names of topics between commas."
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        help="Folder for the decisions and the summary: a new one, or that of an unfinished "
        "replay, which goes on where it stopped."
    ),
]
Artifact = Annotated[
    str | None,
    typer.Option(
        help="Model artifact: a folder, a URL, or pretrained:NAME. Overrides model.artifact."
    ),
]
Outcomes = Annotated[
    str | None,
    typer.Option(help="Outcomes to judge the decisions by: .jsonl files, or the name of a topic."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="Moment up to which outcomes are complete (ISO 8601, or milliseconds since the "
        "epoch). Default: the latest moment of requests and outcomes."
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="First time that is replayed (ISO 8601, or milliseconds since the epoch).",
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        "--to",
        help="First time that is not replayed (ISO 8601, or milliseconds since the epoch).",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        help="Settings of another policy or model that decides the same requests. May be repeated.",
        metavar="NAME=FILE",
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="Keep this value of every request, e.g. device.geo.country, to compare groups. "
        "May be repeated.",
        metavar="PATH",
    ),
]
Processes = Annotated[
    int,
    typer.Option(min=1, help="Processes that read and score. The decisions do not depend on it."),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Read and score on a Ray cluster: HOST:PORT, auto (the one that runs on this "
        "machine), or local (one that ends with the replay). Needs weir[ray]. The decisions do "
        "not depend on it.",
    ),
]
ChunkSize = Annotated[
    int,
    typer.Option(min=1, help="Requests per chunk. The decisions do not depend on it."),
]


def replay(
    ctx: typer.Context,
    source: Source,
    out: Out = Path("var/replay"),
    artifact: Artifact = None,
    rate: Rate = None,
    outcomes: Outcomes = None,
    as_of: AsOf = None,
    start: Start = None,
    end: End = None,
    against: Against = None,
    by: By = None,
    processes: Processes = 1,
    ray: Ray = None,
    chunk_size: ChunkSize = 1000,
    fail_if: FailIf = None,
) -> None:
    """Decide historical requests as a worker would.

    Runs the code of a worker on requests from files or topics, and writes every decision, what was
    decided when they were live, and a summary to a folder. Nothing is published. With outcomes it
    reports on them, as `weir report` does.

    Ends with status 1 if a condition of --fail-if holds or cannot be judged.
    """
    from rich.console import Console  # noqa: PLC0415

    from stream.replay.arms import read_arm  # noqa: PLC0415
    from stream.replay.replay import Progress, ReplayOptions, run_replay  # noqa: PLC0415
    from stream.report.checks import parse_checks  # noqa: PLC0415

    parse_checks(fail_if or ())  # before hours of work
    settings = ctx.obj.override({"policy.rate": rate, "model.artifact": artifact})
    options = ReplayOptions(
        source, out, outcomes, start, end, chunk_size,
        against=[read_arm(text) for text in against or ()],
        by=by or (), processes=processes, ray=ray, as_of=as_of,
    )  # fmt: skip
    with Console(stderr=True).status(f"replaying {source}") as status:

        def show(progress: Progress) -> None:
            status.update(f"replaying {source}: {describe(progress)}")

        summary = asyncio.run(run_replay(settings, options, show))
    print_json(summary)
    if (outcomes or fail_if) and not print_report(settings, out, fail_if or [], err=True):
        sys.exit(1)


def describe(progress: "Progress") -> str:
    """Progress in words: requests, share, rate, and time left."""
    text = f"{progress.requests:,} requests, {progress.done:.0%}, {progress.per_second:,.0f}/s"
    if progress.left_s is None:
        return text
    minutes, seconds = divmod(round(progress.left_s), 60)
    return f"{text}, {minutes}:{seconds:02d} left"
