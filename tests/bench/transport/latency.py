"""Latency under load, open loop: from a request's *intended* send time to its visibility.

Sender and reader are processes of their own. The sender's schedule is fixed in advance and it
waits for nobody, so a stall of the system shows in every request that was due meanwhile
(no coordinated omission). Visible is what a ``read_committed`` consumer of the pass topic has been
handed; blocked requests are never visible there and are not measured. The warm-up is left out: the
requests that were due in the first seconds.
"""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from hdrh.histogram import HdrHistogram

from models.settings import Settings
from tests.bench.transport.contender import Contender, Running
from tests.bench.transport.traffic import DUE_HEADER, Pool, Sender
from tests.bench.transport.workload import Outputs, until

PRIMERS: Final = 200
_LONGEST_US: Final = 600_000_000
_DIGITS: Final = 3


@dataclass(frozen=True)
class Load:
    """A pace that is held for a while.

    Attributes:
        per_second: Requests per second.
        warm_up_s: Seconds at the start that are not counted.
        seconds: Seconds after them that are.
    """

    per_second: float
    warm_up_s: float
    seconds: float

    @property
    def requests(self) -> int:
        """How many there are in all."""
        return round(self.per_second * (self.warm_up_s + self.seconds))


async def measure_latency(
    contender: Contender, settings: Settings, load: Load, name: str, folder: Path
) -> dict[str, float]:
    """Hold a load and say how long passed requests took, in milliseconds.

    Raises:
        ContenderError: If the contender fails.
        StalledError: If it does not come through.
    """
    overrides = {**contender.overrides, "topics.requests": f"{name}-requests"}
    async with Outputs(settings.override(overrides), name, own_input=True) as outputs:
        with Running(contender, outputs.settings, folder / f"{name}.log") as running:
            await _prime(outputs, running)
            due_N, seen_N, start_ns = await _play(outputs, running, load)
            await asyncio.to_thread(running.stop)
    counted_N = due_N >= start_ns + 1e9 * load.warm_up_s
    return _percentiles((seen_N - due_N)[counted_N] / 1000) | {
        "requests_per_second": round(load.per_second, 1),
        "measured": int(np.count_nonzero(counted_N)),
    }


async def _prime(outputs: Outputs, running: Running) -> None:
    """Let the contender start, join and decide something."""
    sender = Sender(outputs.settings, Pool(size=PRIMERS))
    sender.at_once(0, PRIMERS)
    await asyncio.to_thread(sender.flush)
    await until(lambda: outputs.reached(PRIMERS), running)


async def _play(
    outputs: Outputs, running: Running, load: Load
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Due time and time of visibility of every passed request, and the start of the schedule."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    seen, seen_end = context.Pipe(duplex=False)
    started, started_end = context.Pipe(duplex=False)
    reader = context.Process(target=_read, args=(outputs.settings, stop, seen_end), daemon=True)
    sender = context.Process(target=_send, args=(outputs.settings, load, started_end), daemon=True)
    reader.start()
    await asyncio.to_thread(seen.recv)  # it stands at the beginning
    sender.start()
    start_ns: int = await asyncio.to_thread(started.recv)
    await asyncio.to_thread(sender.join)
    await until(lambda: outputs.reached(PRIMERS + load.requests), running)
    stop.set()
    due_N, seen_N = await asyncio.to_thread(seen.recv)
    await asyncio.to_thread(reader.join)
    return due_N, seen_N, start_ns


def _send(settings: Settings, load: Load, started: Connection) -> None:
    sender = Sender(settings, Pool())
    start_ns = time.monotonic_ns() + 500_000_000
    started.send(start_ns)
    sender.paced(PRIMERS, load.requests, load.per_second, start_ns)


def _read(settings: Settings, stop: Any, seen: Connection) -> None:
    """Read the pass topic until `stop` is set and nothing more comes."""
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
