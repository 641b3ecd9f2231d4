"""``weir trainer``: the trainer daemon."""

from typing import Annotated

import typer

from models.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the subcommand to ``app``."""
    app.command()(trainer)


def trainer(
    ctx: typer.Context,
    rebuild_examples: Annotated[
        int | None, typer.Option(help="Number of new mature examples that start a rebuild.")
    ] = None,
    quick: Annotated[
        bool | None,
        typer.Option("--quick/--full", help="Train small nets briefly, or train fully."),
    ] = None,
) -> None:
    """Consume and store examples, and rebuild the model from them.

    Runs until SIGTERM or Ctrl-C.
    """
    from trainer.service.daemon import run_trainer  # noqa: PLC0415

    settings: Settings = ctx.obj.override(
        {"trainer.rebuild_examples": rebuild_examples, "trainer.quick": quick}
    )
    run_trainer(settings)
