"""`weir offsets`: shows and resets the committed offsets of the consumer groups."""

import asyncio
from typing import Annotated

import typer

from models.settings import Settings
from stream.cli.options import WorkerRole, print_json

offsets = typer.Typer(
    name="offsets",
    help="Show or reset the committed offsets of the consumer groups.",
    no_args_is_help=True,
)

Role = Annotated[
    WorkerRole, typer.Option(help="Use the consumer group of the workers of this role.")
]


@offsets.command("show")
def offsets_show(ctx: typer.Context, role: Role = WorkerRole.INTERCEPT) -> None:
    """Show the members, committed offsets and lag of a group."""
    from stream.kafka.offsets import show  # noqa: PLC0415

    found = asyncio.run(show(ctx.obj, _group(ctx.obj, role)))
    print_json(
        {
            "group": found.name,
            "members": found.members,
            "lag": sum(offsets.lag for offsets in found.partitions.values()),
            "partitions": [
                {
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "committed": offsets.committed,
                    "begin": offsets.begin,
                    "end": offsets.end,
                    "lag": offsets.lag,
                }
                for tp, offsets in found.partitions.items()
            ],
        }
    )


@offsets.command("reset")
def offsets_reset(
    ctx: typer.Context,
    to: Annotated[
        str,
        typer.Option(
            help="The new position: earliest, latest, an offset, or a time (ISO 8601; UTC unless "
            "it has a UTC offset)."
        ),
    ],
    role: Role = WorkerRole.INTERCEPT,
    partition: Annotated[
        int | None, typer.Option(min=0, help="Reset only this partition of each topic.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")
    ] = False,
) -> None:
    """Reset the committed offsets of a group that has no members.

    Requests after an earlier offset are decided again; those before a later one never are.
    """
    from stream.kafka.offsets import reset  # noqa: PLC0415

    group = _group(ctx.obj, role)
    changes = asyncio.run(reset(ctx.obj, group, to, partition=partition, dry_run=dry_run))
    print_json(
        {
            "group": group,
            "done": not dry_run,
            "partitions": [
                {"topic": tp.topic, "partition": tp.partition, "from": before, "to": after}
                for tp, (before, after) in changes.items()
            ],
        }
    )


def _group(settings: Settings, role: WorkerRole) -> str:
    from stream.kafka.rights import feedback_group  # noqa: PLC0415

    return settings.kafka.group if role is WorkerRole.INTERCEPT else feedback_group(settings)
