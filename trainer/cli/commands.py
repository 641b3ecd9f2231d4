"""The trainer's subcommands of ``weir``, from publishing to searching nets."""

import typer

from trainer.cli import experiments, search, traffic, train, trainer, zoo


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for module in (traffic, train, trainer, experiments, zoo, search):
        module.register(app)
