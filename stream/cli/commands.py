"""Adds the subcommands of this package to `weir`; see the entry points ``weir.commands``."""

import typer

from stream.cli.broker import broker
from stream.cli.demo import demo
from stream.cli.doctor import doctor
from stream.cli.explain import explain
from stream.cli.model.queries import model
from stream.cli.offsets import offsets
from stream.cli.plan import plan
from stream.cli.replay import replay
from stream.cli.report import report
from stream.cli.reproduce import reproduce
from stream.cli.status import status
from stream.cli.steering import policy, rate
from stream.cli.topics import topics
from stream.cli.trace import trace
from stream.cli.verify import verify
from stream.cli.worker import worker


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for command in (
        *(broker, topics, worker, verify, replay, report, reproduce, explain),
        *(demo, doctor, status, plan),
    ):
        app.command()(command)
    for group in (rate, policy, model, offsets, trace):
        app.add_typer(group)
