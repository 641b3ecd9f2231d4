"""``make bench``: Weir against its peers on one machine with one broker; see README of the ratios.

    python -m tests.bench.transport --rounds 3 --seconds 10

Prints tables and writes ``var/bench/transport.json``.
"""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from stream.kafka_broker import KafkaBroker

from models.settings import Settings
from tests.bench.transport.contender import CONTENDERS
from tests.bench.transport.report import throughput, throughput_table
from tests.bench.transport.rounds import Effort
from tests.bench.transport.run import Bench

ROOT = Path(__file__).resolve().parents[3]


def main(
    requests: Annotated[int, typer.Option(help="Backlog.")] = 300_000,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 5,
    seconds: Annotated[float, typer.Option(help="Longest measurement of one round.")] = 10.0,
    warm_up: Annotated[int, typer.Option(help="Requests before it.")] = 20_000,
    partitions: Annotated[int, typer.Option(help="Of the input topic.")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="These contenders only.")] = None,
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT / "var" / "bench",
) -> None:
    """Measure."""
    console = Console()
    names = only or list(CONTENDERS)
    with KafkaBroker(ROOT / "var" / "kafka") as broker:
        settings = Settings().override(
            {"kafka.bootstrap": broker.bootstrap, "kafka.partitions": partitions}
        )
        bench = Bench(settings, Effort(requests, warm_up, seconds), out / "logs", console)
        found = asyncio.run(bench.run([CONTENDERS[name] for name in names], rounds))
    figures: dict[str, Any] = throughput(found)
    figures["stalled_rounds"] = bench.stalled
    console.print(throughput_table(figures))
    out.mkdir(parents=True, exist_ok=True)
    (out / "transport.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
