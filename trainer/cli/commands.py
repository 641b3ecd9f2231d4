"""The trainer's subcommands of ``weir``: publish, simulate, train, trainer, experiments, zoo."""

import typer

from trainer.cli import experiments, traffic, train, trainer, zoo


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for module in (traffic, train, trainer, experiments, zoo):
        module.register(app)
