"""The commands of `weir model` that show and verify something."""

import asyncio
import sys
import time
from typing import Annotated

import typer

from stream.cli.model.changes import CHANGES
from stream.cli.model.options import Json, Version, catalog_of
from stream.cli.options import print_json
from stream.cli.tables import as_text, print_table

model = typer.Typer(
    name="model",
    help="List, verify, compare and announce versions of the model; show what served when.",
    no_args_is_help=True,
)


@model.command("list")
def model_list(ctx: typer.Context, *, json: Json = False) -> None:
    """List the versions of the registry, oldest first; an asterisk marks what serves.

    That is the newest announced version that is there with the announced hash. What a worker has
    loaded is in its metric weir_model_info.
    """
    rows = list(catalog_of(ctx.obj).rows())
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no versions in {ctx.obj.model.registry}")
    print_table(
        ["", "version", "created", "rows", "AUC", "KiB", "signed", "announced", "fault"],
        [
            [
                "*" if row["serving"] else "",
                row["version"],
                row["created"],
                row["rows"],
                " ".join(f"{name} {as_text(auc)}" for name, auc in row["auc"].items()),
                None if row["bytes"] is None else row["bytes"] // 1024,
                row["signed"],
                row["announced"],
                row["error"],
            ]
            for row in rows
        ],
    )


@model.command("show")
def model_show(ctx: typer.Context, version: Version, *, json: Json = False) -> None:
    """Show a version: its training, metrics, gates, announcements; with --json its manifest."""
    found = catalog_of(ctx.obj).show(version)
    if json:
        print_json(found)
        return
    from stream.cli.model.text import print_version  # noqa: PLC0415

    print_version(found)


@model.command("verify")
def model_verify(
    ctx: typer.Context,
    version: Annotated[
        str | None, typer.Argument(help="Name of a version in the registry. Default: all.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Verify versions as a worker does before it loads one.

    Checks every hash, the signature where model.public_key is set, spec and model, and scores
    requests in a child process. Ends with status 1 if a version cannot serve.
    """
    from stream.versions.check import check  # noqa: PLC0415

    catalog = catalog_of(ctx.obj)
    names = [version] if version else catalog.registry.versions()
    results = [check(catalog, name) for name in names]
    if json:
        print_json(
            [
                {"version": r.version, "fault": r.fault, "message": r.message, "us": r.us}
                for r in results
            ]
        )
    else:
        print_table(
            ["version", "verdict", "us/request", ""],
            [[r.version, r.fault or "can serve", r.us, r.message] for r in results],
        )
    if not all(result.passed for result in results):
        sys.exit(1)


@model.command("diff")
def model_diff(
    ctx: typer.Context,
    one: Annotated[str, typer.Argument(help="The first version.", metavar="A")],
    other: Annotated[str, typer.Argument(help="The second version.", metavar="B")],
    *,
    json: Json = False,
) -> None:
    """Compare two versions: metrics, tasks, configuration, features."""
    from models.artifact.registry import Registry  # noqa: PLC0415
    from stream.versions.compare import compare  # noqa: PLC0415

    registry = Registry.of(ctx.obj.model)
    found = compare(registry.fetch_version(one), registry.fetch_version(other))
    if json:
        print_json(found)
        return
    from stream.cli.model.text import print_difference  # noqa: PLC0415

    print_difference(found)


@model.command("history")
def model_history(
    ctx: typer.Context,
    at: Annotated[
        str | None,
        typer.Option(
            help="Show only what was in force at this time (ISO 8601, UTC unless it has an offset; "
            "or milliseconds since the epoch).",
            metavar="TIME",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="With --decided: from this time on.", metavar="TIME"),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="With --decided: up to this time.", metavar="TIME"),
    ] = None,
    *,
    decided: Annotated[
        bool,
        typer.Option(
            "--decided",
            help="Show instead which version decided the requests that passed, per partition: "
            "reads the headers of the pass topic.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show what was announced when, why, and by whom; oldest first."""
    from stream.cli.model import text  # noqa: PLC0415
    from stream.kafka.times import parse_time_ms  # noqa: PLC0415
    from stream.versions.catalog import entry  # noqa: PLC0415
    from stream.versions.decided import who_decided  # noqa: PLC0415

    if decided:
        if at is not None:
            raise typer.BadParameter("give --from and --to with --decided, not --at")
        span = (parse_time_ms(start), parse_time_ms(end))
        text.print_runs(asyncio.run(who_decided(ctx.obj, *span)), json=json)
        return
    if start is not None or end is not None:
        raise typer.BadParameter("--from and --to need --decided")
    history = catalog_of(ctx.obj).history
    at_ms = parse_time_ms(at)
    periods = list(history.timeline(int(time.time() * 1000)))
    if at_ms is not None:
        found = history.in_force(at_ms)
        periods = [period for period in periods if period.announced in found]
    rows = [entry(period.announced, period.until) for period in periods]
    if json:
        print_json(rows)
    elif at_ms is not None and not rows:
        typer.echo("nothing was announced before: model.artifact served")
    else:
        text.print_history(rows)


for _name, _command in CHANGES.items():
    model.command(_name)(_command)
