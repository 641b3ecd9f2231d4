"""The `weir` command: global options here, subcommands from the ``weir.commands`` entry points.

Each entry point is a function ``register(app)``; that is how trainer's commands appear beside
stream's without stream importing trainer. Heavy imports belong inside the commands: `weir --help`
and a worker's start pay for them otherwise.
"""

import logging
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from models.errors import UserError
from models.process import logs
from models.settings import SettingsError, load_settings
from stream.brokers.children import end_with_parent

logger = logging.getLogger(__name__)

#: What only the extra `train` installs.
TRAINING_MODULES: Final = frozenset({"torch", "sklearn", "onnx"})
#: Of a command that Ctrl-C ended, as shells have it.
INTERRUPTED: Final = 130


class Commands(TyperGroup):
    """The commands; what Kafka's client raises in one of them is told in terms of its settings."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            logger.info("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            from stream.kafka.faults import EVERY_ROLE, ROLES, explain  # noqa: PLC0415 - slow to import

            roles = ROLES.get(ctx.invoked_subcommand or "", EVERY_ROLE)
            explained = explain(error, ctx.obj, roles)
            if explained is None:
                raise
            raise explained from error


def build_app() -> typer.Typer:
    """The command line with every installed subcommand."""
    app = typer.Typer(
        name="weir",
        cls=Commands,
        help="A traffic filter for real-time ad auctions on Kafka.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # it takes "[training]" for markup, and leaves it out
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for entry_point in sorted(entry_points(group="weir.commands"), key=lambda e: e.name):
        entry_point.load()(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weir {version('weir')}")
        raise typer.Exit


def _global_options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings file; without it, weir.toml if there is one.", metavar="FILE"),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="Kafka brokers, several separated by commas.", metavar="HOST:PORT"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any setting, e.g. policy.rate=0.8; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="How to log: text, or json for machines.", metavar="FORMAT")
    ] = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Read settings: flags beat WEIR_SECTION__KEY variables, which beat the settings file."""
    flags: dict[str, str | None] = {"kafka.bootstrap": bootstrap, "log.format": log_format}
    for text in setting or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SettingsError(f"--set {text}: write it as KEY=VALUE, e.g. policy.rate=0.8")
        flags[key] = value
    ctx.obj = settings = load_settings(config, flags)
    for secret in settings.secrets:
        logs.hide(secret)
    logs.set_up(settings.log.format, verbose=verbose)


def main() -> None:
    """Run `weir`; a fault that its message explains ends with status 2 and no traceback."""
    end_with_parent()
    try:
        build_app()()
    except UserError as error:
        _give_up(str(error))
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_MODULES:
            raise
        _give_up(f"{error.name} is not installed; learning needs: pip install 'weir[train]'")


def _give_up(message: str) -> NoReturn:
    if logs.logs_json():
        logging.getLogger("weir").critical("%s", message)
        sys.exit(2)
    lines = [logs.one_line(line) for line in message.splitlines()]
    Console(stderr=True).print(
        "weir: " + "\n".join(lines), style="red", highlight=False, markup=False, soft_wrap=True
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
