"""`weir plan`: partitions, workers, brokers, memory and network for a load."""

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from stream.planning.figures import FIGURES, SOURCES, Guarantee

_Own = Annotated[float | None, typer.Option(min=0.0, help="Instead of the measured figure.")]


def plan(
    ctx: typer.Context,
    requests: Annotated[float, typer.Option(min=1, help="Requests per second at the peak.")],
    size: Annotated[float, typer.Option("--bytes", min=1, help="Bytes of a request.")] = 1_400,
    p99: Annotated[float, typer.Option(min=1, help="Latency budget: p99 in ms.")] = 100,
    guarantee: Annotated[
        Guarantee | None, typer.Option(help="Default: worker.guarantee of the settings.")
    ] = None,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of every partition.")] = 3,
    input_packed: Annotated[
        float, typer.Option(min=0.01, max=1, help="Packed size of the requests, relative.")
    ] = 1.0,
    cpu_us: _Own = None,
    latency_ms: _Own = None,
    memory_mb: _Own = None,
    broker_mb: _Own = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Print what a load needs, from measured figures, with all that is assumed (docs/scale.md)."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from stream.planning.plan import Load, explain, make_plan  # noqa: PLC0415

    chosen: Guarantee = guarantee or ctx.obj.worker.guarantee
    own = {
        "cpu_us": cpu_us,
        "latency_ms": latency_ms,
        "memory_mb": memory_mb,
        "broker_mb": broker_mb,
    }
    given = {name: value for name, value in own.items() if value is not None}
    figures = replace(FIGURES[chosen], **given)
    rate = ctx.obj.policy.rate
    load = Load(requests, size, p99, rate, replication, input_packed)
    made = make_plan(load, figures)
    if as_json:
        typer.echo(json.dumps({**asdict(load), "guarantee": chosen, **asdict(made)}))
        return
    console = Console()
    needs = Table("", "needed", "because", title=f"{requests:,.0f} requests/s, {chosen}")
    for row in explain(load, made):
        needs.add_row(*row)
    console.print(needs)
    basis = Table("figure", "value", "source", title="made of")
    for name, value in asdict(figures).items():
        basis.add_row(name, f"{value:g}", "given" if name in given else SOURCES[name])
    basis.add_row("requests on the wire", f"{input_packed:g}", "--input-packed")
    basis.add_row("rate", f"{rate:g}", "policy.rate of the settings")
    console.print(basis)
