"""`weir explain`: one decision, explained."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.options import print_json

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files or topics to look in. Default: the topics of passed, blocked and rejected "
        "requests, and of all requests.",
        metavar="[SOURCE]...",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        help="Which record, where the id occurs more than once.",
        metavar="TOPIC[PARTITION]@OFFSET",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Look in topics from this time on (ISO 8601, or milliseconds since the epoch).",
        metavar="TIME",
    ),
]
End = Annotated[
    str | None,
    typer.Option("--to", help="Look in topics up to this time.", metavar="TIME"),
]
Artifact = Annotated[
    str | None,
    typer.Option(
        help="Model artifact: a folder, a URL, or pretrained:NAME. Overrides model.artifact."
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        help="Examples to count the training rows in that are like the request: a Parquet "
        "file, or a folder of them."
    ),
]
Orders = Annotated[
    int,
    typer.Option(min=2, max=4096, help="Random orders that the attribution is a mean over; even."),
]
History = Annotated[
    bool,
    typer.Option(
        "--history",
        help="Decide all requests before it again, for the threshold and the debt at that "
        "moment; from the journal of its worker, if that wrote one. Takes as long as a replay.",
    ),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Show all features, not only those that moved most.")
]


def explain(
    ctx: typer.Context,
    request_id: Annotated[str, typer.Argument(help="The id of a bid request.")],
    sources: Sources = None,
    at: At = None,
    start: Start = None,
    end: End = None,
    artifact: Artifact = None,
    store: Store = None,
    orders: Orders = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of these orders.")] = 0,
    *,
    history: History = False,
    everything: Everything = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Explain the decision about one request.

    Shows what was read of the request, its scores, reward and verdict, computes them again with the
    model that decided and compares them with the log, and shows which features moved the reward.
    What cannot be reproduced is said, with the part of the history that is missing.
    """
    from rich.console import Console  # noqa: PLC0415

    from stream.explain.as_json import as_json  # noqa: PLC0415
    from stream.explain.explanation import ExplainOptions  # noqa: PLC0415
    from stream.explain.explanation import explain as run  # noqa: PLC0415
    from stream.explain.screen import show  # noqa: PLC0415
    from stream.kafka.times import parse_time_ms  # noqa: PLC0415

    options = ExplainOptions(
        tuple(sources or ()),
        at,
        parse_time_ms(start),
        parse_time_ms(end),
        history,
        store,
        orders // 2,
        seed,
    )
    settings = ctx.obj.override({"model.artifact": artifact})
    with Console(stderr=True).status("looking for the request"):
        found = asyncio.run(run(settings, request_id, options))
    if json:
        print_json(as_json(found))
    else:
        show(Console(), found, everything=everything)
