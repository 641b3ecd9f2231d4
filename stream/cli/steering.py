"""`weir rate` and `weir policy`: show and change the policy of running workers."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from models.nested import put
from models.settings import EVERYTHING, ConsumptionSettings, Settings
from stream.cli.options import print_json

if TYPE_CHECKING:
    from stream.policy.exploration_price import RewardDistribution

rate = typer.Typer(
    name="rate",
    help="Show or set the interception rate of running workers.",
    no_args_is_help=True,
)
policy = typer.Typer(
    name="policy",
    help="Show or change the policy settings of running workers.",
    no_args_is_help=True,
)

Scenario = Annotated[
    str, typer.Option(help="Name of the scenario; * stands for the requests of all scenarios.")
]
_RATE_KEYS = ("rate", "capacity", "consumption")
_PRICED = (0.001, 0.01, 0.05)
"""Shares of exploration whose price is shown beside that of the one in force."""


@rate.command("get")
def rate_get(ctx: typer.Context, scenario: Scenario = EVERYTHING) -> None:
    """Show the rate settings in force, and what exploring costs."""
    from stream.control.client import read_rewards  # noqa: PLC0415

    revision, found = _in_force(ctx.obj, scenario)
    rewards = asyncio.run(read_rewards(ctx.obj, scenario))
    shown = {key: found[key] for key in _RATE_KEYS}
    print_json({"revision": revision, **shown, "exploration": _exploration(found, rewards)})


@rate.command("set")
def rate_set(
    ctx: typer.Context,
    fixed: Annotated[
        float | None,
        typer.Argument(help="Share of requests to intercept, 0 to 1.", metavar="RATE"),
    ] = None,
    scenario: Scenario = EVERYTHING,
    capacity: Annotated[
        float | None,
        typer.Option(
            help="Instead of a fixed rate, pass at most this many requests per second, in all "
            "workers together."
        ),
    ] = None,
    least: Annotated[
        float, typer.Option(help="Lowest rate that --consumption may choose, 0 to 1.")
    ] = 0.0,
    most: Annotated[
        float, typer.Option(help="Highest rate that --consumption may choose, 0 to 1.")
    ] = 1.0,
    *,
    consumption: Annotated[
        bool,
        typer.Option(
            "--consumption",
            help="Instead of a fixed rate, pace the consumption of a budget, as reported on the "
            "consumption topic.",
        ),
    ] = False,
) -> None:
    """Set the rate: fixed, or by capacity or budget."""
    if (fixed is not None) + (capacity is not None) + consumption != 1:
        raise typer.BadParameter("give exactly one of RATE, --capacity and --consumption")
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
    """Show all policy settings in force."""
    revision, found = _in_force(ctx.obj, scenario)
    print_json({"revision": revision, **found})


@policy.command("set")
def policy_set(
    ctx: typer.Context,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings of the section [policy], such as weights.deal=30 explore=0.01.",
            metavar="KEY=VALUE...",
        ),
    ] = None,
    scenario: Scenario = EVERYTHING,
    *,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Remove all live settings of the scenario, so that weir.toml applies again.",
        ),
    ] = False,
) -> None:
    """Change policy settings while workers run."""
    if reset == bool(settings):
        raise typer.BadParameter("give either KEY=VALUE or --reset")
    _publish(ctx.obj, scenario, None if reset else _tree(settings or []))


def _exploration(found: dict[str, Any], rewards: "RewardDistribution | None") -> dict[str, Any]:
    """The share of exploration, and the share of the passes' reward that it and others lose.

    The price is null where workers have published no rewards, or a capacity decides what passes.
    """
    explore: float = found["explore"]
    passes = 1.0 - float(found["rate"])
    shares = sorted({explore, *_PRICED})
    known = rewards is not None and found["capacity"] is None
    prices = {f"{eps:g}": rewards.price(passes, eps) if rewards and known else None
              for eps in shares}  # fmt: skip
    lost = {eps: None if price is None else round(price.lost, 6) for eps, price in prices.items()}
    own = prices[f"{explore:g}"]
    return {
        "explore": explore,
        "share_of_passes": None if own is None else round(own.explored, 6),
        "reward_lost": lost[f"{explore:g}"],
        "reward_lost_by_explore": lost,
    }


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
    print_json({"revision": revision, "scenario": scenario, "settings": change})
