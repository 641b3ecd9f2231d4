"""`weir doctor`, the command."""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import orjson
import typer

from models.process.logs import one_line
from models.settings import Settings


class Runs(StrEnum):
    """What is to run."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"
    TRAINER = "trainer"
    ALL = "all"


def doctor(
    ctx: typer.Context,
    role: Annotated[Runs, typer.Option(help="Check what this role needs.")] = Runs.ALL,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Check what the processes need, and name fixes.

    Brokers, rights, topics, artifact and clock, one line each.

    Ends with status 1 if anything fails.
    """
    from stream.doctor import Level, diagnose  # noqa: PLC0415
    from stream.kafka.rights import Role  # noqa: PLC0415

    settings: Settings = ctx.obj
    every = (Role.INTERCEPT, Role.FEEDBACK, Role.TRAINER)
    roles = every if role is Runs.ALL else (Role(role.value),)
    findings = asyncio.run(diagnose(settings, roles))
    if as_json:
        rows = [finding.as_dict() for finding in findings]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    else:
        for finding in findings:
            line = f"{finding.level:<5}{finding.check:<12}{finding.sentence}"
            typer.echo(one_line(line))
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)
