"""`weir doctor`: checks before the start."""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import typer

from models.process.logs import one_line
from models.settings import Settings
from stream.cli.options import print_json


class CheckedRole(StrEnum):
    """Role whose needs are checked."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"
    TRAINER = "trainer"
    ALL = "all"


def doctor(
    ctx: typer.Context,
    role: Annotated[
        CheckedRole, typer.Option(help="Check only what processes of this role need.")
    ] = CheckedRole.ALL,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check brokers, rights, topics, artifact and clock.

    Prints one line for each finding: ok, warn or fail, the check, what was found, and the fix.

    Ends with status 1 if a check fails.
    """
    from stream.doctor import Level, diagnose  # noqa: PLC0415
    from stream.kafka.rights import Role  # noqa: PLC0415

    settings: Settings = ctx.obj
    every = (Role.INTERCEPT, Role.FEEDBACK, Role.TRAINER)
    roles = every if role is CheckedRole.ALL else (Role(role.value),)
    findings = asyncio.run(diagnose(settings, roles))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            line = f"{finding.level:<5}{finding.check:<12}{finding.sentence}"
            typer.echo(one_line(line))
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)
