"""Trainer's subcommands of `weir`: publish, simulate, train, trainer."""

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
