"""`python -m chaos.soak`: what `make soak` runs; its record goes to ``var/soak/``."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from chaos.soak.report import record, table
from chaos.soak.run import Plan, Soak
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster

VAR = Path(__file__).parents[2] / "var"


def play(plan: Plan, folder: Path, jars: Path | None, console: Console) -> dict[str, Any]:
    """Run a plan on its own broker, the embedded one without jars; returns the record."""
    start = time.monotonic()

    def report(text: str) -> None:
        console.print(f"{time.monotonic() - start:7.1f} s  {text}", highlight=False, soft_wrap=True)

    broker = KafkaCluster(folder, jars=jars) if jars else EmbeddedBroker(folder / "broker.log")
    with broker as running:
        found = asyncio.run(Soak(plan, running, folder / "run", report).play())
    return record(plan, found, datetime.now(UTC))


def soak(
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Minutes for which requests are published.")
    ] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests published per second.")] = 2000.0,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes.")] = 2,
    guarantee: Annotated[
        str, typer.Option(help="Delivery guarantee, as worker.guarantee.")
    ] = "exactly-once",
    rebuild_examples: Annotated[
        int,
        typer.Option(
            min=100, help="Examples from one rebuild to the next, as trainer.rebuild_examples."
        ),
    ] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulated traffic.")] = 1,
    jars: Annotated[
        Path, typer.Option(help="Folder of Kafka's jars; they are downloaded if missing.")
    ] = VAR / "kafka" / "jars",
    *,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="Use the embedded broker, with at-least-once delivery."),
    ] = False,
) -> None:
    """Run all roles at a steady pace; report memory, CPU and whether anything was lost."""
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    console = Console()
    kept = "at-least-once" if embedded else guarantee
    plan = Plan(minutes, rate, workers, kept, rebuild_examples, seed)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    run = play(plan, VAR / "soak" / name, None if embedded else jars, console)
    (VAR / "soak" / f"{name}.json").write_bytes(orjson.dumps(run, option=orjson.OPT_INDENT_2))
    console.print(table(run))
    sys.exit(not run["ok"])


if __name__ == "__main__":
    typer.run(soak)
