"""The `weir` command: its global options, and the errors that end it.

The subcommands come from the entry points ``weir.commands``, which are functions ``register(app)``:
so the commands of `trainer` appear without an import of it in `stream`. Modules that are slow to
import are imported inside the commands, or `weir --help` and every worker would start slower.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, cast, get_args

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from models.errors import UserError
from models.process import logs
from models.process.parent import end_with_parent
from models.settings import SettingsError, load_settings
from models.validation import reason_and_input

logger = logging.getLogger(__name__)

#: Modules that only the extra `train` installs.
TRAINING_MODULES: Final = frozenset({"torch", "sklearn", "onnx"})
#: Exit status of a command that Ctrl-C ended, as in shells.
INTERRUPTED: Final = 130


class Commands(TyperGroup):
    """The subcommands; explains errors of options, and of Kafka's client by the settings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the global options."""
        with _explained_options():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            with _explained_options():
                return super().invoke(ctx)
        except (typer.Exit, typer.BadParameter):
            raise
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


@contextmanager
def _explained_options() -> Iterator[None]:
    """Replace pydantic's words about the value of an option by Weir's."""
    try:
        yield
    except typer.BadParameter as error:
        if isinstance(error.__cause__, ValidationError):
            error.message = "; ".join(map(reason_and_input, error.__cause__.errors()))
        raise


def build_app() -> typer.Typer:
    """The command line with all installed subcommands."""
    app = typer.Typer(
        name="weir",
        cls=Commands,
        help="A traffic filter for real-time ad auctions on Kafka.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # which would take "[training]" for markup and drop it
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for entry_point in sorted(entry_points(group="weir.commands"), key=lambda e: e.name):
        entry_point.load()(app)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"weir {version('weir')}")
        raise typer.Exit


def _global_options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings file (TOML). Default: weir.toml in the working directory, if it exists.",
            metavar="FILE",
        ),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            help="Addresses of Kafka brokers, separated by commas. Overrides kafka.bootstrap.",
            metavar="HOST:PORT",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override any setting, e.g. policy.rate=0.8. May be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            help="Format of the log on standard error: text or json. Overrides log.format.",
            metavar="FORMAT",
        ),
    ] = None,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log debug messages, too.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version of Weir and exit.",
        ),
    ] = False,
) -> None:
    """Load the settings: flags override WEIR_SECTION__KEY variables, which override the file."""
    if (form := log_format or os.environ.get("WEIR_LOG__FORMAT")) in get_args(logs.Format):
        logs.set_up(cast(logs.Format, form), verbose=verbose)  # for errors of the settings, too
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
    """Run `weir`; a :class:`UserError` is printed without a traceback and ends with status 2."""
    end_with_parent()
    try:
        build_app()(prog_name="weir")
    except UserError as error:
        _exit_with(str(error))
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_MODULES:
            raise
        _exit_with(
            f"{error.name} is not installed; training needs it; run: pip install 'weir[train]'"
        )


def _exit_with(message: str) -> NoReturn:
    from rich.console import Console  # noqa: PLC0415

    if logs.logs_json():
        logging.getLogger("weir").critical("%s", message)
        sys.exit(2)
    lines = [logs.one_line(line) for line in message.splitlines()]
    Console(stderr=True).print(
        "weir: " + "\n".join(lines), style="red", highlight=False, markup=False, soft_wrap=True
    )
    sys.exit(2)
