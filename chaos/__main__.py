"""`python -m chaos`: what `make chaos` runs; its record goes to ``var/chaos/SEED.json``."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from chaos.aborted import aborted_records
from chaos.report import record, table
from chaos.run import Run, Scenario
from chaos.schedule import Dose
from stream.brokers.kafka_cluster import KafkaCluster

VAR = Path(__file__).parents[1] / "var"


class Which(StrEnum):
    """The scenarios to run."""

    WORKERS = "workers"
    BROKERS = "brokers"
    BOTH = "both"


def chaos(
    seed: Annotated[int, typer.Option(help="Seed of the failures and of the traffic.")] = 1,
    requests: Annotated[
        int, typer.Option(min=1, help="Minimum number of requests per scenario.")
    ] = 1_000_000,
    kills: Annotated[
        int, typer.Option(min=0, help="Number of workers to kill with kill -9.")
    ] = 100,
    brokers: Annotated[
        int, typer.Option(min=0, help="Number of Kafka node failures in the second scenario.")
    ] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes.")] = 2,
    nodes: Annotated[int, typer.Option(min=1, help="Number of Kafka nodes.")] = 3,
    guarantee: Annotated[
        str, typer.Option(help="Delivery guarantee, as worker.guarantee.")
    ] = "exactly-once",
    pace: Annotated[float, typer.Option(help="Requests published per second.")] = 1000.0,
    which: Annotated[
        Which, typer.Option(help="Scenarios: workers are killed, brokers are killed too, or both.")
    ] = Which.BOTH,
    jars: Annotated[
        Path, typer.Option(help="Folder of Kafka's jars; they are downloaded if missing.")
    ] = VAR / "kafka" / "jars",
) -> None:
    """Kill workers and brokers under load, again and again, then account for every request."""
    console = Console()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # nodes are down on purpose
    few = max(1, kills // 20)
    doses = {
        Which.WORKERS: Dose(kills, few, few, few),
        Which.BROKERS: Dose(kills, few, few, few, brokers),
    }
    start = time.monotonic()

    def report(text: str) -> None:
        console.print(f"{time.monotonic() - start:7.1f} s  {text}", highlight=False, soft_wrap=True)

    runs = []
    for name, dose in doses.items():
        if which in {name, Which.BOTH}:
            scenario = Scenario(name, seed, requests, dose, workers, nodes, guarantee, pace)
            runs.append(play(scenario, VAR / "chaos" / f"{seed}-{name}", jars, report))
            content = orjson.dumps(runs, option=orjson.OPT_INDENT_2)
            (VAR / "chaos" / f"{seed}.json").write_bytes(content)
    console.print(table(runs))
    sys.exit(not all(run["ok"] for run in runs))


def play(
    scenario: Scenario, folder: Path, jars: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """Run a scenario on its own Kafka cluster; returns the record of the run."""
    with KafkaCluster(folder, nodes=scenario.nodes, jars=jars) as cluster:
        run = Run(scenario, cluster, folder / "workers", report)
        found = asyncio.run(run.play())
        aborted = asyncio.run(aborted_records(run.settings, found.outputs))
    return record(run, found, datetime.now(UTC), aborted)


if __name__ == "__main__":
    typer.run(chaos)
