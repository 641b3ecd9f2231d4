"""``make bench``: Weir and its peers on one machine with one Kafka node, then latency and memory.

    python -m benchmarks.transport --rounds 3 --seconds 10

Prints tables and writes ``var/bench/transport.json``. Zero rounds, zero seconds of latency or zero
requests for memory skip that part.
"""

import asyncio
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks.transport.contender import CONTENDERS, EXACTLY_ONCE, ROOT, WEIR
from benchmarks.transport.latency import Load
from benchmarks.transport.report import tables, throughput
from benchmarks.transport.rounds import Effort
from benchmarks.transport.run import Bench
from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster

LOADS: Final = (0.3, 0.7)
WARM_UP_S: Final = 10.0
CAPACITY_S: Final = 10.0
VERSIONS: Final = ("weir", "faust-streaming", "aiokafka", "confluent-kafka", "quixstreams")


def main(
    requests: Annotated[
        int, typer.Option(help="Number of requests in the backlog of the rounds.")
    ] = 400_000,
    rounds: Annotated[int, typer.Option(min=0, help="Number of throughput rounds.")] = 5,
    seconds: Annotated[
        float, typer.Option(help="Maximum duration of the measurement in a round.")
    ] = 10.0,
    warm_up: Annotated[
        int, typer.Option(help="Number of requests before the measurement begins.")
    ] = 30_000,
    partitions: Annotated[
        int, typer.Option(min=1, help="Number of partitions of every topic.")
    ] = 4,
    only: Annotated[
        list[str] | None, typer.Option(help="Contenders to run; all by default.")
    ] = None,
    latency_seconds: Annotated[
        float, typer.Option(help="Duration of the latency measurement, after its warm-up.")
    ] = 30.0,
    offered: Annotated[
        float, typer.Option(help="Requests/s offered to find the capacity; must exceed it.")
    ] = 40_000,
    memory_requests: Annotated[
        int, typer.Option(help="Number of requests for the memory measurement.")
    ] = 5_000_000,
    compression: Annotated[
        str, typer.Option(help="Compression of Weir's outputs; its peers do not compress theirs.")
    ] = "none",
    out: Annotated[Path, typer.Option(help="Folder for figures and logs.")] = ROOT
    / "var"
    / "bench",
) -> None:
    """Measure throughput, latency and memory of one Weir worker, and throughput of its peers."""
    console = Console()
    names = only or list(CONTENDERS)
    effort = Effort(requests, warm_up, seconds)

    async def measure(bench: Bench) -> dict[str, Any]:
        contenders = [CONTENDERS[name] for name in names]
        found = await bench.rounds(contenders, effort, rounds) if rounds else []
        figures = throughput(found) | {"capacity": {}, "latency": {}, "memory": {}}
        for name in [name for name in (WEIR, EXACTLY_ONCE) if name in names]:
            if latency_seconds:
                enough = Load(offered, WARM_UP_S, CAPACITY_S)
                capacity = await bench.capacity(CONTENDERS[name], enough)
                figures["capacity"][name] = round(capacity, 1)
                figures["latency"][name] = {
                    str(share): await bench.latency(
                        CONTENDERS[name], share, Load(share * capacity, WARM_UP_S, latency_seconds)
                    )
                    for share in LOADS
                }
            if memory_requests:
                figures["memory"][name] = await bench.memory(CONTENDERS[name], memory_requests)
        return figures | {"stalled_runs": bench.stalled}

    with KafkaCluster(ROOT / "var" / "kafka") as kafka:
        settings = Settings().override(
            {
                "kafka.bootstrap": kafka.bootstrap,
                "kafka.partitions": partitions,
                "worker.compression": compression,
            }
        )
        figures = asyncio.run(measure(Bench(settings, out / "logs", console)))
    figures["machine"] = _machine() | {"rounds": rounds, "partitions": partitions, **asdict(effort)}
    for table in tables(figures):
        console.print(table)
    (out / "transport.json").write_text(json.dumps(figures, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in VERSIONS},
    }


if __name__ == "__main__":
    typer.run(main)
