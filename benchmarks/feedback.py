"""What a feedback worker costs: CPU time per request, memory over time, time to recover.

    PYTHONPATH=. python benchmarks/feedback.py [--requests 1000000] [--kafka JARS]

Simulated requests with the header of a decision are published to a broker on this machine, the
embedded one or Apache Kafka (in the folder of jars), while a worker makes examples of them. Halfway
it is killed (SIGKILL) and started again.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.messages import Decision, Reason
from stream.metrics.scrape import FeedbackSample, scrape_feedback
from stream.transport import ChunkSink, Outgoing
from trainer.simulation.simulator import Simulator

PARTITIONS: Final = 8
DISTINCT: Final = 16_000  # requests; published again and again
AHEAD: Final = 64_000  # requests that are published and not read yet
SAMPLE_S: Final = 2.0
COMMAND: Final = ("worker", "--role", "feedback")


@contextmanager
def broker(folder: Path, jars: Path | None) -> Iterator[EmbeddedBroker | KafkaCluster]:
    """The embedded broker, or one node of Apache Kafka."""
    if jars is None:
        with EmbeddedBroker(folder / "broker.log") as embedded:
            yield embedded
    else:
        with KafkaCluster(folder, jars=jars) as cluster:
            yield cluster


def passed(count: int) -> list[Outgoing]:
    """Passed requests as the intercept workers write them."""
    now_ms = int(time.time() * 1000)
    return [
        Outgoing(b"k", value, now_ms, [Decision("v1", 0.5, 0.4, Reason.SCORE, 1.0, n).to_header()])
        for n, value in enumerate(Simulator(1).batch(0, count).values)
    ]


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process so far, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


class Run:
    """One worker after the other on the same topics.

    Args:
        settings: Brokers and topics.
        requests: Number of requests.
        folder: Folder of the logs.
    """

    def __init__(self, settings: Settings, requests: int, folder: Path) -> None:
        self._settings = settings
        self._requests = requests
        self._folder = folder
        self._published = 0
        self._made = 0.0

    async def publish(self) -> None:
        """Publish all requests, at most `AHEAD` before the worker."""
        options, topic = client_options(self._settings.kafka), self._settings.topics.passed
        rows = passed(min(DISTINCT, self._requests))
        parts = [rows[number::PARTITIONS] for number in range(PARTITIONS)]
        async with ChunkSink(options, [topic], compression="zstd") as sink:
            while self._published < self._requests:
                if self._published - self._made > AHEAD:
                    await asyncio.sleep(0.05)
                    continue
                sent = (sink.send(topic, number, part) for number, part in enumerate(parts))
                await asyncio.gather(*sent)
                self._published += len(rows)

    async def work(self, name: str, until: float) -> None:
        """Run a worker until so many examples were made in all, kill it, and print its figures."""
        port, started, before = free_port(), time.monotonic(), self._made
        settings = self._settings.override({"worker.metrics_port": port})
        log = self._folder / f"{name}.log"
        child = ChildProcess(name, COMMAND, log, settings.environment())
        async with child:
            process = psutil.Process(child.pid)
            idle_cpu_s = await self._answers(child, process, port)
            print(f"{name}: requests, resident MiB, us of CPU per request")
            first_s, next_print = 0.0, before
            while self._made < until:
                await asyncio.sleep(SAMPLE_S if first_s else 0.1)
                child.check()
                made = (await scrape_feedback(port) or FeedbackSample()).examples
                self._made = before + made
                if made and not first_s:
                    first_s, first_made = time.monotonic(), made
                    print(f"  first examples {first_s - started:.1f} s after the start")
                elif made and self._made >= next_print:
                    next_print += self._requests / 20
                    per_us = (cpu_s(process) - idle_cpu_s) / made * 1e6
                    mib = process.memory_info().rss / 2**20
                    print(f"  {self._made:12,.0f} {mib:8.0f} {per_us:8.1f}", flush=True)
            per_us = (cpu_s(process) - idle_cpu_s) / made * 1e6
            rate = (made - first_made) / (time.monotonic() - first_s)
            print(f"  {rate:,.0f} requests/s; {per_us:.1f} us of CPU per request")
            process.kill()
            await child.wait()

    @staticmethod
    async def _answers(child: ChildProcess, process: psutil.Process, port: int) -> float:
        """Wait for the first metrics, before the first request; returns the CPU time so far."""
        while await scrape_feedback(port) is None:
            child.check()
            await asyncio.sleep(0.02)
        return cpu_s(process)


async def play(broker: EmbeddedBroker | KafkaCluster, requests: int, folder: Path) -> None:
    """Publish, and run two workers, the first of which is killed halfway."""
    client = broker.client.model_dump(exclude_unset=True)
    settings = Settings().override(
        {
            **{f"kafka.{key}": value for key, value in client.items()},
            "kafka.partitions": PARTITIONS,
            "kafka.session_timeout_s": 6.0,
        }
    )
    await ensure_topics(settings.kafka, settings.topics)
    run = Run(settings, requests, folder)
    async with asyncio.TaskGroup() as group:
        group.create_task(run.publish())
        await run.work("first", requests / 2)
        await run.work("after kill -9", requests)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--kafka", type=Path, help="Folder of Kafka's jars.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with broker(folder, options.kafka) as running:
            asyncio.run(play(running, options.requests, folder))


if __name__ == "__main__":
    main()
