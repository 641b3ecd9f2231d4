"""`weir reproduce`: the decisions of live workers, repeated from their journals."""

import asyncio
import sys

import typer

from stream.cli.options import print_json


def reproduce(ctx: typer.Context) -> None:
    """Repeat every decision of live workers from their journals, and compare with the log.

    Workers write a journal with worker.journal = true. Each worker's part is repeated with its own
    settings, models and order of events, and compared byte for byte with the headers on the topics
    of passes and blocks. Nothing is published.

    Ends with status 1 unless every decision that was written is reproduced, but for those of
    requests before the first one that a journal has of their partition.
    """
    from rich.console import Console  # noqa: PLC0415

    from stream.reproduce.reproduce import reproduce as repeat  # noqa: PLC0415

    with Console(stderr=True).status("reading the log") as status:

        def show(worker: str, decisions: int) -> None:
            status.update(f"worker {worker}: {decisions:,} decisions")

        found = asyncio.run(repeat(ctx.obj, show))
    print_json(found)
    if not found["exact"]:
        sys.exit(1)
