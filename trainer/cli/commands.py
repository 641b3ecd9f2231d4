"""Trainer's subcommands of `weir`: publish, simulate, train, trainer, experiments."""

import typer

from trainer import commands_experiments, commands_train, commands_trainer
from trainer.traffic import commands as commands_traffic


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for module in (commands_traffic, commands_train, commands_trainer, commands_experiments):
        module.register(app)
