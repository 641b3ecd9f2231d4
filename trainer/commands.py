"""Trainer's subcommands of `weir`: publish, simulate, train, trainer."""

import typer

from trainer import commands_train
from trainer.traffic import commands as commands_traffic


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    commands_traffic.register(app)
    commands_train.register(app)
