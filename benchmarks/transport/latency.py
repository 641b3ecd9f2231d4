"""Latency under load, open loop: from a request's *intended* send time to its visibility.

Sender and reader are processes of their own. The sender's schedule is fixed in advance and
does not wait for the system, so a stall shows in every request that was due during it (no
coordinated omission). A request is visible once a ``read_committed`` consumer of the pass topic has
received it; blocked requests are never visible there and are not measured. Requests that were due
during the warm-up are left out.

Loads are shares of the capacity, which is measured with the same sender and reader on the same
machine: it is the throughput when more is offered than can be processed.
"""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from hdrh.histogram import HdrHistogram

from benchmarks.transport.contender import Contender, Running
from benchmarks.transport.traffic import DUE_HEADER, Pool, Sender
from benchmarks.transport.workload import Outputs, until
from models.settings import Settings

PRIMERS: Final = 200
_LONGEST_US: Final = 600_000_000
_DIGITS: Final = 3


@dataclass(frozen=True)
class Load:
    """A constant load.

    Attributes:
        per_second: Requests per second.
        warm_up_s: Seconds at the start that are not counted.
        seconds: Seconds after the warm-up, which are counted.
    """

    per_second: float
    warm_up_s: float
    seconds: float

    @property
    def requests(self) -> int:
        """Total number of requests."""
        return round(self.per_second * (self.warm_up_s + self.seconds))


async def measure_latency(
    contender: Contender, settings: Settings, load: Load, name: str, folder: Path
) -> dict[str, float]:
    """Measure the latency of passed requests under a load, in milliseconds.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it does not process all requests.
    """
    async with _run(contender, settings, name, folder) as (outputs, running):
        with _Traffic(outputs.settings, load) as traffic:
            start_ns = await traffic.begin()
            await traffic.all_sent()
            await until(lambda: outputs.reached(PRIMERS + load.requests), running)
            due_N, seen_N = await traffic.seen()
        await asyncio.to_thread(running.stop)
    counted_N = due_N >= start_ns + 1e9 * load.warm_up_s
    return _percentiles((seen_N - due_N)[counted_N] / 1000) | {
        "requests_per_second": round(load.per_second, 1),
        "measured": int(np.count_nonzero(counted_N)),
    }


async def measure_capacity(
    contender: Contender, settings: Settings, load: Load, name: str, folder: Path
) -> float:
    """Measure throughput while `load`, which should exceed the capacity, is offered.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it does not start.
    """
    async with _run(contender, settings, name, folder) as (outputs, _running):
        with _Traffic(outputs.settings, load) as traffic:
            start_ns = await traffic.begin()
            await asyncio.sleep((start_ns - time.monotonic_ns()) / 1e9 + load.warm_up_s)
            first_s, first = time.monotonic(), await outputs.done()
            await asyncio.sleep(load.seconds)
            last_s, last = time.monotonic(), await outputs.done()
    return (last - first) / (last_s - first_s)


@asynccontextmanager
async def _run(
    contender: Contender, settings: Settings, name: str, folder: Path
) -> AsyncIterator[tuple[Outputs, Running]]:
    """Start a contender on its own topics, and wait until it has decided some requests."""
    overrides = {**contender.overrides, "topics.requests": f"{name}-requests"}
    async with Outputs(settings.override(overrides), name, own_input=True) as outputs:
        with Running(contender, outputs.settings, folder / f"{name}.log") as running:
            sender = Sender(outputs.settings, Pool(size=PRIMERS))
            sender.at_once(0, PRIMERS)
            await asyncio.to_thread(sender.flush)
            await until(lambda: outputs.reached(PRIMERS), running)
            yield outputs, running


class _Traffic:
    """Sender and reader, each a process; a context manager that kills them.

    Args:
        settings: Settings with broker and topics.
        load: Load to send.
    """

    def __init__(self, settings: Settings, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._seen, seen = context.Pipe(duplex=False)
        self._started, started = context.Pipe(duplex=False)
        self._reader = context.Process(target=_read, args=(settings, self._stop, seen), daemon=True)
        self._sender = context.Process(target=_send, args=(settings, load, started), daemon=True)

    def __enter__(self) -> Self:
        """Enter; the processes are started by `begin`."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Kill the processes that are still running."""
        for process in (self._sender, self._reader):
            if process.is_alive():
                process.kill()
                process.join()

    async def begin(self) -> int:
        """Start both; returns when the first request is due (monotonic clock, nanoseconds)."""
        self._reader.start()
        await asyncio.to_thread(self._seen.recv)  # the reader is assigned and at the beginning
        self._sender.start()
        start_ns: int = await asyncio.to_thread(self._started.recv)
        return start_ns

    async def all_sent(self) -> None:
        """Wait until all requests are acknowledged."""
        await asyncio.to_thread(self._sender.join)

    async def seen(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Due time and time of visibility of every passed request, in nanoseconds."""
        self._stop.set()
        due_N, seen_N = await asyncio.to_thread(self._seen.recv)
        return due_N, seen_N


def _send(settings: Settings, load: Load, started: Connection) -> None:
    sender = Sender(settings, Pool())
    start_ns = time.monotonic_ns() + 500_000_000
    started.send(start_ns)
    sender.paced(PRIMERS, load.requests, load.per_second, start_ns)


def _read(settings: Settings, stop: Any, seen: Connection) -> None:
    """Read the pass topic until `stop` is set and no more records arrive."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "group.id": f"{settings.kafka.group}-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }
    )
    topic = settings.topics.passed
    numbers = range(settings.kafka.partitions)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    consumer.consume(1, timeout=5.0)
    seen.send("ready")
    due: list[int] = []
    at: list[int] = []
    while True:
        first = consumer.poll(0.5)  # consume() waits for all that it was asked for
        messages = [first, *consumer.consume(1000, timeout=0.0)] if first is not None else []
        now_ns = time.monotonic_ns()
        if not messages and stop.is_set():
            break
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            due.append(int.from_bytes(dict(message.headers() or ())[DUE_HEADER], "big"))
            at.append(now_ns)
    consumer.close()
    seen.send((np.array(due, np.int64), np.array(at, np.int64)))


def _percentiles(latency_us_N: npt.NDArray[np.float64]) -> dict[str, float]:
    histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for latency_us in latency_us_N.tolist():
        histogram.record_value(max(1, round(latency_us)))
    wanted = {"p50_ms": 50.0, "p99_ms": 99.0, "p99_9_ms": 99.9, "max_ms": 100.0}
    return {
        name: round(histogram.get_value_at_percentile(percent) / 1000, 2)
        for name, percent in wanted.items()
    }
