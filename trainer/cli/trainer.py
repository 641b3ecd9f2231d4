"""`weir trainer`: the trainer daemon."""

from typing import Annotated

import typer

from models.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the subcommand to ``app``."""
    app.command()(trainer)


def trainer(
    ctx: typer.Context,
    rebuild_examples: Annotated[
        int | None, typer.Option(help="New matured examples after which it rebuilds.")
    ] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick/--full", help="Effort of a trial run, or the full one.")
    ] = None,
) -> None:
    """Store examples, and rebuild the model from them.

    It runs until SIGTERM or Ctrl-C.
    """
    from trainer.pipeline.daemon import run_trainer  # noqa: PLC0415

    settings: Settings = ctx.obj.override(
        {"trainer.rebuild_examples": rebuild_examples, "trainer.quick": quick}
    )
    run_trainer(settings)
