"""``make bench``: Weir and its peers on one machine with one Kafka node.

    python -m benchmarks.transport --rounds 3 --seconds 10
    python -m benchmarks.transport --only latency --rates 10000 --contenders weir,aiokafka_loop

Measures throughput, latency and memory; prints tables and writes ``var/bench/transport.json``.
"""

import asyncio
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks.transport.contender import (
    CONTENDERS,
    EXACTLY_ONCE,
    ROOT,
    WEIR,
    Contender,
    against,
)
from benchmarks.transport.latency.side_by_side import Loads, summary
from benchmarks.transport.report import tables, throughput
from benchmarks.transport.rounds import Effort
from benchmarks.transport.run import Bench
from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster

WIDTH: Final = 160
BENCH: Final = ROOT / "var" / "bench"
VERSIONS: Final = ("weir", "faust-streaming", "aiokafka", "confluent-kafka", "quixstreams")


class Part(StrEnum):
    """A part of the benchmark."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    MEMORY = "memory"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        parts: The parts.
        contenders: Contenders to run.
        rounds: Number of rounds of throughput and of latency.
        effort: Size of a round of throughput.
        loads: Loads of the latency measurements.
        offered: Requests/s offered to find the capacity.
        memory_requests: Number of requests for the memory measurement.
    """

    parts: frozenset[Part]
    contenders: list[Contender]
    rounds: int
    effort: Effort
    loads: Loads
    offered: float
    memory_requests: int

    async def measure(self, bench: Bench) -> dict[str, Any]:
        """Run all measurements; returns the figures by kind and contender."""
        found = []
        if Part.THROUGHPUT in self.parts:
            found = await bench.rounds(self.contenders, self.effort, self.rounds)
        figures = throughput(found) | {"capacity": {}, "latency": {}, "memory": {}}
        if Part.LATENCY in self.parts:
            capacity, cells = await bench.side_by_side(
                self.contenders, self.loads, self.rounds, self.offered
            )
            figures["capacity"] = {name: round(most, 1) for name, most in capacity.items()}
            figures["latency"] = summary(cells)
        if Part.MEMORY in self.parts:
            for contender in self.contenders:
                if contender.name in (WEIR, EXACTLY_ONCE):
                    found_mb = await bench.memory(contender, self.memory_requests)
                    figures["memory"][contender.name] = found_mb
        return figures | {"stalled_runs": bench.stalled}


def main(
    only: Annotated[list[Part] | None, typer.Option(help="Parts to run; all by default.")] = None,
    contenders: Annotated[
        str, typer.Option(help="Contenders to run, separated by commas.")
    ] = ",".join(CONTENDERS),
    rounds: Annotated[
        int, typer.Option(min=1, help="Number of rounds of throughput and of latency.")
    ] = 3,
    seconds: Annotated[
        float, typer.Option(help="Maximum duration of a measurement, after its warm-up.")
    ] = 10.0,
    requests: Annotated[
        int, typer.Option(help="Number of requests in the backlog of the throughput rounds.")
    ] = 400_000,
    warm_up: Annotated[
        int, typer.Option(help="Number of requests before throughput is measured.")
    ] = 30_000,
    rates: Annotated[
        str, typer.Option(help="Requests/s at which latency is measured, separated by commas.")
    ] = "5000,10000,20000",
    share: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.95,
            help="Share of the capacity at which latency is measured besides; 0: at --rates only.",
        ),
    ] = 0.7,
    window: Annotated[
        float, typer.Option(help="Seconds of a window; three of like p99 end a warm-up.")
    ] = 3.0,
    longest_warm_up: Annotated[
        float, typer.Option(help="Seconds after which latency is measured warm or not.")
    ] = 45.0,
    offered: Annotated[
        float, typer.Option(help="Requests/s offered to find the capacity; must exceed it.")
    ] = 50_000,
    memory_requests: Annotated[
        int, typer.Option(help="Number of requests for the memory measurement.")
    ] = 5_000_000,
    trace: Annotated[
        bool, typer.Option(help="Print where the milliseconds of Weir's latencies go.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(help="Another checkout of Weir, whose workers run as further contenders."),
    ] = None,
    partitions: Annotated[
        int, typer.Option(min=1, help="Number of partitions of every topic.")
    ] = 4,
    compression: Annotated[
        str, typer.Option(help="Compression of Weir's outputs; its peers do not compress theirs.")
    ] = "none",
    out: Annotated[Path, typer.Option(help="Folder for figures and logs.")] = BENCH,
) -> None:
    """Measure throughput and latency of one Weir worker and of its peers, and Weir's memory."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    named = _named(contenders)
    plan = Plan(
        parts=frozenset(only or Part),
        contenders=[*named, *(against(compare.resolve(), named) if compare else ())],
        rounds=rounds,
        effort=Effort(requests, warm_up, seconds),
        loads=Loads(_rates(rates), share, seconds, window, longest_warm_up),
        offered=offered,
        memory_requests=memory_requests,
    )
    with KafkaCluster(ROOT / "var" / "kafka") as kafka:
        settings = Settings().override(
            {
                "kafka.bootstrap": kafka.bootstrap,
                "kafka.partitions": partitions,
                "worker.compression": compression,
            }
        )
        bench = Bench(settings, out / "logs", console, traced=trace)
        figures = asyncio.run(plan.measure(bench))
    figures["machine"] = _machine() | {
        "rounds": rounds,
        "partitions": partitions,
        **asdict(plan.effort),
        **asdict(plan.loads),
    }
    for table in tables(figures):
        console.print(table)
    (out / "transport.json").write_text(json.dumps(figures, indent=2) + "\n")


def _named(listed: str) -> list[Contender]:
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return [CONTENDERS[name] for name in names]


def _rates(listed: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(rate) for rate in listed.split(",") if rate.strip())
    except ValueError as error:
        raise typer.BadParameter(f"{error}; expected --rates 5000,10000") from error
    if any(rate <= 0 for rate in rates):
        raise typer.BadParameter("a rate is not positive")
    return rates


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in VERSIONS},
    }


if __name__ == "__main__":
    typer.run(main)
