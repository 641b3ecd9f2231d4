"""`weir topics`: creates the topics, and adds partitions to them."""

import asyncio
from typing import Annotated

import typer

from models.settings import Settings


def topics(
    ctx: typer.Context,
    add_partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead of creating topics, add this many partitions to the request topic and "
            "its output topics.",
        ),
    ] = None,
) -> None:
    """Create the topics that do not exist yet.

    Output topics with fewer partitions than the request topic get more.
    """
    from stream.kafka import partitions  # noqa: PLC0415
    from stream.kafka.topics import ensure_topics  # noqa: PLC0415

    settings: Settings = ctx.obj
    if add_partitions is not None:
        counts = asyncio.run(
            partitions.add_partitions(settings.kafka, settings.topics, add_partitions)
        )
        for topic, count in counts.items():
            typer.echo(f"{topic}: {count} partitions")
        return
    created = asyncio.run(ensure_topics(settings.kafka, settings.topics))
    typer.echo(f"created: {', '.join(created)}" if created else "all topics exist")
