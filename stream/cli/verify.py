"""`weir verify`: an independent account of every request."""

import asyncio
import sys

import typer

from stream.cli.options import print_json


def verify(ctx: typer.Context) -> None:
    """Verify that every request is on exactly one output topic.

    Reads the topics as a downstream consumer does, and compares the outputs with the requests.
    Stop the workers first, or let them catch up.

    Ends with status 1 unless each request is on one output topic, once, unchanged and in order, and
    the consumer group has committed all offsets.
    """
    from stream.verify.verifier import account  # noqa: PLC0415

    found = asyncio.run(account(ctx.obj))
    for fault in found.faults:
        typer.echo(fault, err=True)
    for remark in found.remarks():
        typer.echo(f"note: {remark}", err=True)
    print_json(found.summary())
    if not found.exact:
        sys.exit(1)
