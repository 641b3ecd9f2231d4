"""Sender and reader of a latency measurement, each a process of its own.

The sender's schedule is fixed in advance and does not wait for the system, so a stall shows in
every request that was due during it (no coordinated omission). The reader, a ``read_committed``
consumer of the pass topic, notes for each record when it was due and when it was there. Both times
go to memory that the processes share, so that latencies are known while the load goes on.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from benchmarks.transport.traffic import DUE_HEADER, Pool, Sender
from models.settings import Settings

AHEAD_S: Final = 0.5
"""From the start of the sender to its first request."""

_QUIET_S: Final = 0.5
_TOGETHER: Final = 1000


class Traffic:
    """Sender and reader; a context manager that kills them.

    Args:
        settings: Settings with broker and topics.
        first: Number of the first request.
        per_second: Requests per second.
        most: Maximum number of requests; the sender ends earlier if it is told to.
    """

    def __init__(self, settings: Settings, first: int, per_second: float, most: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop_sending = context.Event()
        self._stop_reading = context.Event()
        self._times = _Times(context, most + first)
        self._ready, ready = context.Pipe(duplex=False)
        self._sent, sent = context.Pipe(duplex=False)
        self._reader = context.Process(
            target=_read, args=(settings, self._stop_reading, self._times, ready), daemon=True
        )
        self._sender = context.Process(
            target=_send,
            args=(settings, first, per_second, most, self._stop_sending, sent),
            daemon=True,
        )

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
        await asyncio.to_thread(self._ready.recv)  # the reader is at the beginning of the topic
        self._sender.start()
        start_ns: int = await asyncio.to_thread(self._sent.recv)
        return start_ns

    async def end(self) -> int:
        """Stop sending; returns the number of requests, when the broker has all of them."""
        self._stop_sending.set()
        sent: int = await asyncio.to_thread(self._sent.recv)
        return sent

    async def read_all(self) -> None:
        """Wait until the reader has received what is on the topic."""
        self._stop_reading.set()
        await asyncio.to_thread(self._reader.join)

    def times(self, first: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Due time and time of visibility of the records from the ``first``-th on, in ns."""
        return self._times.since(first)


class _Times:
    """Due times and times of visibility of up to ``size`` records, in shared memory."""

    def __init__(self, context: Any, size: int) -> None:
        self._count = context.Value("q", 0, lock=False)
        self._due = context.Array("q", size, lock=False)
        self._seen = context.Array("q", size, lock=False)

    def add(self, due_ns: list[int], seen_ns: int) -> None:
        """Add records that became visible at the same time; one process may do so."""
        count = self._count.value
        end = count + len(due_ns)
        np.frombuffer(self._due, np.int64)[count:end] = due_ns
        np.frombuffer(self._seen, np.int64)[count:end] = seen_ns
        self._count.value = end

    def since(self, first: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Copies of both, from the ``first``-th record on."""
        end = self._count.value
        due_N = np.frombuffer(self._due, np.int64)[first:end].copy()
        return due_N, np.frombuffer(self._seen, np.int64)[first:end].copy()


def _send(
    settings: Settings, first: int, per_second: float, most: int, stop: Any, sent: Connection
) -> None:
    sender = Sender(settings, Pool())
    start_ns = time.monotonic_ns() + int(AHEAD_S * 1e9)
    sent.send(start_ns)
    sent.send(sender.paced(first, most, per_second, start_ns, stop.is_set))


def _read(settings: Settings, stop: Any, times: _Times, ready: Connection) -> None:
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
    ready.send("ready")
    while True:
        first = consumer.poll(_QUIET_S)  # consume() waits for all that it was asked for
        messages = [first, *consumer.consume(_TOGETHER, timeout=0.0)] if first is not None else []
        now_ns = time.monotonic_ns()
        if not messages and stop.is_set():
            break
        due = []
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            due.append(int.from_bytes(dict(message.headers() or ())[DUE_HEADER], "big"))
        times.add(due, now_ns)
    consumer.close()
