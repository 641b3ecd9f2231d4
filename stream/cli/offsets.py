"""Subcommands `weir offsets`: where the consumer groups stand, and how to put them elsewhere."""

import asyncio
from enum import StrEnum
from typing import Annotated

import orjson
import typer

from models.settings import Settings

offsets = typer.Typer(
    name="offsets", help="Show or reset the offsets of the consumer groups.", no_args_is_help=True
)


class Reader(StrEnum):
    """Who reads: each role has a group of its own."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"


Role = Annotated[Reader, typer.Option(help="The role whose group it is.")]


@offsets.command("show")
def offsets_show(ctx: typer.Context, role: Role = Reader.INTERCEPT) -> None:
    """Show members, committed offsets, and what waits, by partition."""
    from stream.kafka.offsets import show  # noqa: PLC0415

    found = asyncio.run(show(ctx.obj, _group(ctx.obj, role)))
    _print(
        {
            "group": found.name,
            "members": found.members,
            "lag": sum(place.lag for place in found.places.values()),
            "partitions": [
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "committed": place.committed,
                    "begin": place.begin,
                    "end": place.end,
                    "lag": place.lag,
                }
                for tp, place in found.places.items()
            ],
        }
    )


@offsets.command("reset")
def offsets_reset(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option(
            help="earliest, latest, an offset, or a time (ISO 8601; UTC without an offset)."
        ),
    ],
    role: Role = Reader.INTERCEPT,
    partition: Annotated[int | None, typer.Option(min=0, help="Reset this partition only.")] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do, and do nothing.")
    ] = False,
) -> None:
    """Set the offsets of a group that has no members.

    Going back decides requests again; going on leaves requests undecided for good.
    """
    from stream.kafka.offsets import reset  # noqa: PLC0415

    group = _group(ctx.obj, role)
    done = asyncio.run(reset(ctx.obj, group, to, partition=partition, dry_run=dry_run))
    _print(
        {
            "group": group,
            "done": not dry_run,
            "partitions": [
                {"topic": tp.topic, "partition": tp.partition, "from": before, "to": after}
                for tp, (before, after) in done.items()
            ],
        }
    )


def _group(settings: Settings, role: Reader) -> str:
    group = settings.kafka.group
    return group if role is Reader.INTERCEPT else f"{group}-feedback"


def _print(found: object) -> None:
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
