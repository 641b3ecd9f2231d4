"""`weir status`: one screen about everything that runs."""

import asyncio
import sys
import time
from typing import Annotated

import typer

from models.settings import Settings
from stream.cli.options import print_json


def status(
    ctx: typer.Context,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT of the metrics of a process, or of all behind that name; may be "
            "repeated. Overrides status.endpoints."
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all facts as JSON.")] = False,
) -> None:
    """Show what needs attention, topics, workers, and the trainer on one screen.

    Parts that are down are reported. Ends with status 1 if something has failed.
    """
    from rich.console import Console  # noqa: PLC0415

    from stream.doctor.finding import Level  # noqa: PLC0415
    from stream.status.attention import attention  # noqa: PLC0415
    from stream.status.screen import show  # noqa: PLC0415
    from stream.status.status import gather  # noqa: PLC0415

    settings: Settings = ctx.obj
    found = asyncio.run(gather(settings, endpoint or (), time.time()))
    findings = attention(found)
    if as_json:
        attention_rows = [finding.as_dict() for finding in findings]
        print_json({"attention": attention_rows, **found.as_dict()})
    else:
        show(Console(), found, findings)
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)
