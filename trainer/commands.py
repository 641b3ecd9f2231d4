"""Trainer's subcommands of `weir`: publish, simulate, train, trainer."""

import typer

from trainer import commands_train, commands_trainer
from trainer.traffic import commands as commands_traffic


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for module in (commands_traffic, commands_train, commands_trainer):
        module.register(app)
