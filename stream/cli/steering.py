"""Subcommands `weir rate` and `weir policy`: look at and change what running workers do."""

import asyncio
from typing import Annotated, Any

import orjson
import typer

from models.nested import put
from models.settings import EVERYTHING, ConsumptionSettings, Settings

rate = typer.Typer(
    name="rate", help="The interception rate of running workers.", no_args_is_help=True
)
policy = typer.Typer(name="policy", help="The policy of running workers.", no_args_is_help=True)

Scenario = Annotated[str, typer.Option(help="Name of the scenario; * is for all requests.")]
_RATE_KEYS = ("rate", "capacity", "consumption")


@rate.command("get")
def rate_get(ctx: typer.Context, scenario: Scenario = EVERYTHING) -> None:
    """Show the rate in force, and how it is set."""
    revision, found = _in_force(ctx.obj, scenario)
    _show({"revision": revision, **{key: found[key] for key in _RATE_KEYS}})


@rate.command("set")
def rate_set(
    ctx: typer.Context,
    fixed: Annotated[
        float | None, typer.Argument(help="Share to intercept, 0 to 1.", metavar="RATE")
    ] = None,
    scenario: Scenario = EVERYTHING,
    capacity: Annotated[
        float | None, typer.Option(help="Pass at most so many requests per second instead.")
    ] = None,
    least: Annotated[float, typer.Option(help="With --consumption, the lowest rate.")] = 0.0,
    most: Annotated[float, typer.Option(help="With --consumption, the highest rate.")] = 1.0,
    *,
    consumption: Annotated[
        bool, typer.Option("--consumption", help="Let reports on the budget drive it instead.")
    ] = False,
) -> None:
    """Set the rate: a fixed share, by downstream capacity, or by consumption of a budget."""
    if (fixed is not None) + (capacity is not None) + consumption != 1:
        raise typer.BadParameter("give one of RATE, --capacity and --consumption")
    change: dict[str, Any] = {"capacity": capacity, "consumption": None}
    if fixed is not None:
        change["rate"] = fixed
    if consumption:
        change["consumption"] = ConsumptionSettings.model_construct(
            least=least, most=most
        ).model_dump()
    _publish(ctx.obj, scenario, change)


@policy.command("get")
def policy_get(ctx: typer.Context, scenario: Scenario = EVERYTHING) -> None:
    """Show the whole policy in force."""
    revision, found = _in_force(ctx.obj, scenario)
    _show({"revision": revision, **found})


@policy.command("set")
def policy_set(
    ctx: typer.Context,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="KEY=VALUE, such as weights.deal=30 explore=0.01.", metavar="KEY=VALUE..."
        ),
    ] = None,
    scenario: Scenario = EVERYTHING,
    *,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Drop the live settings of the scenario: weir.toml holds again."
        ),
    ] = False,
) -> None:
    """Change settings of the policy while workers run."""
    if reset == bool(settings):
        raise typer.BadParameter("give either KEY=VALUE or --reset")
    _publish(ctx.obj, scenario, None if reset else _tree(settings or []))


def _tree(texts: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise typer.BadParameter(f"{text}: write it as KEY=VALUE, e.g. explore=0.01")
        try:
            put(tree, key, _json_or_text(value))
        except ValueError as error:
            raise typer.BadParameter(f"{text}: {error}") from error
    return tree


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _in_force(settings: Settings, scenario: str) -> tuple[int, dict[str, Any]]:
    from stream.control.client import read_control  # noqa: PLC0415

    found = asyncio.run(read_control(settings))
    return found.revision, found.settings(scenario)


def _publish(settings: Settings, scenario: str, change: dict[str, Any] | None) -> None:
    from stream.control.client import write_control  # noqa: PLC0415

    revision = asyncio.run(write_control(settings, scenario, change))
    _show({"revision": revision, "scenario": scenario, "settings": change})


def _show(found: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
