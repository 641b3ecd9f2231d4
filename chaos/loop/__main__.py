"""`python -m chaos.loop`: what `make chaos-loop` runs; its record goes to ``var/chaos/``."""

import logging
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from chaos.loop.report import record, table
from chaos.loop.scenario import Scenario, compare
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster

VAR = Path(__file__).parents[2] / "var"


def loop(
    seed: Annotated[int, typer.Option(help="Seed of the history and of the kills.")] = 1,
    kills: Annotated[int, typer.Option(min=0, help="Number of kill -9.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, max=9, help="Number of rebuilds.")] = 5,
    requests: Annotated[
        int, typer.Option(min=1_000, help="Requests from one rebuild to the next.")
    ] = 2_000,
    workers: Annotated[int, typer.Option(min=1, help="Number of intercept workers.")] = 2,
    stream_s: Annotated[
        float, typer.Option(min=1, help="Seconds over which the requests of a round are published.")
    ] = 40.0,
    jars: Annotated[
        Path, typer.Option(help="Folder of Kafka's jars; they are downloaded if missing.")
    ] = VAR / "kafka" / "jars",
    *,
    kafka: Annotated[
        bool,
        typer.Option("--kafka", help="On Apache Kafka and exactly once, not the embedded broker."),
    ] = False,
) -> None:
    """Kill workers, feedback and trainer; compare store and registry with an undisturbed run."""
    console, start = Console(), time.monotonic()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def report(text: str) -> None:
        console.print(f"{time.monotonic() - start:7.1f} s  {text}", highlight=False, soft_wrap=True)

    def brokers(folder: Path) -> EmbeddedBroker | KafkaCluster:
        if kafka:
            return KafkaCluster(folder / "kafka", jars=jars)
        return EmbeddedBroker(folder / "broker.log")

    guarantee = "exactly-once" if kafka else "at-least-once"
    scenario = Scenario(seed, kills, rounds, requests, workers, stream_s, guarantee)
    folder = VAR / "chaos" / f"loop-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    run = record(scenario, compare(scenario, folder, brokers, report), datetime.now(UTC))
    folder.with_suffix(".json").write_bytes(orjson.dumps(run, option=orjson.OPT_INDENT_2))
    console.print(table(run))
    sys.exit(not run["ok"])


if __name__ == "__main__":
    typer.run(loop)
