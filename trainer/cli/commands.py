"""The trainer's subcommands of ``weir``: publish, simulate, train, trainer, experiments."""

import typer

from trainer.cli import experiments, traffic, train, trainer


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for module in (traffic, train, trainer, experiments):
        module.register(app)
