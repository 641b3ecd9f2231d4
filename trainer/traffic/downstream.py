"""Simulated downstream: publishes the outcomes of requests that pass.

It consumes the pass topic, and publishes an outcome for each event of the traffic when it is due.
Blocked requests have no outcomes. As in real feeds, some outcomes are duplicates, some are late and
out of order, and some are for unknown requests.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import xxhash
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.settings import Settings
from models.tasks import TaskSet
from stream.kafka.client import bounded_consumer, client_options, topic_partitions
from stream.messages import Outcome
from trainer.simulation.traffic import Traffic
from trainer.traffic.sender import BatchSender

POLL_S: Final = 0.05
FETCH: Final = 5000


@dataclass(frozen=True, slots=True)
class FeedFaults:
    """Faults of the outcome feed, as shares of the outcomes.

    Attributes:
        duplicate: Share that is sent a second time, later.
        held: Share that is sent up to ``held_s`` after it is due, out of order.
        unknown: Share that is followed by an outcome of an unknown request.
        held_s: Longest delay in unscaled seconds.
        seed: Seed that selects the outcomes.
    """

    duplicate: float = 0.01
    held: float = 0.02
    unknown: float = 0.005
    held_s: float = 1800.0
    seed: int = 0


@dataclass(slots=True)
class Counts:
    """Numbers of published outcomes: all of them, and those with each fault."""

    sent: int = 0
    duplicates: int = 0
    held: int = 0
    unknown: int = 0


class _Due(NamedTuple):
    at_ms: float
    number: int
    outcome: Outcome


class Downstream:
    """Publishes the outcomes of passed requests.

    Args:
        settings: Brokers and topics.
        tasks: Tasks, the columns of the traffic.
        time_scale: Divisor of all delays.
        faults: Faults of the feed.
        clock: Wall clock in seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: TaskSet,
        time_scale: float = 1.0,
        faults: FeedFaults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._names = tasks.names
        self._time_scale = time_scale
        self._faults = faults or FeedFaults()
        self._clock = clock
        self._events: dict[bytes, tuple[tuple[int, float], ...]] = {}
        self._due: list[_Due] = []
        self._numbers = 0
        self._consumer: AIOKafkaConsumer | None = None
        self.counts = Counts()
        self.passed = 0
        self.ready = asyncio.Event()

    def register(self, traffic: Traffic) -> None:
        """Register the outcomes of these requests; call before they are published."""
        rows_K, tasks_K = np.nonzero(traffic.reached)
        delays = traffic.delays_s[rows_K, tasks_K].tolist()
        events: dict[int, list[tuple[int, float]]] = {}
        for row, task, delay_s in zip(rows_K.tolist(), tasks_K.tolist(), delays, strict=True):
            events.setdefault(row, []).append((task, delay_s))
        self._events.update(
            (traffic.ids[row].encode(), tuple(happened)) for row, happened in events.items()
        )

    @property
    def pending(self) -> int:
        """Number of outcomes that are not due yet."""
        return len(self._due)

    async def unread(self, ends: Mapping[TopicPartition, int]) -> int:
        """Number of offsets before `ends` that were not consumed yet; only while it runs."""
        assert self._consumer is not None
        positions = {tp: await self._consumer.position(tp) for tp in ends}
        return sum(max(0, end - positions[tp]) for tp, end in ends.items())

    async def run(self, stop: asyncio.Event) -> Counts:
        """Publish outcomes until ``stop`` is set; sets :attr:`ready` once it consumes.

        Returns:
            Numbers of published outcomes.
        """
        options = client_options(self._settings.kafka)
        topics = self._settings.topics
        consumer = self._consumer = bounded_consumer(
            self._settings.kafka, isolation_level="read_committed"
        )
        try:
            await consumer.start()
            async with BatchSender(options, topics.outcomes) as sender:
                found = await topic_partitions(self._settings.kafka, topics.passed)
                assigned = found[topics.passed]
                consumer.assign(assigned)
                await consumer.seek_to_end(*assigned)
                for partition in assigned:
                    await consumer.position(partition)
                self.ready.set()
                while not stop.is_set():
                    await self._step(consumer, sender)
                await sender.drain()
        finally:
            await consumer.stop()
        return self.counts

    async def _step(self, consumer: AIOKafkaConsumer, sender: BatchSender) -> None:
        wait_s = POLL_S
        if self._due:
            wait_s = min(max(self._due[0].at_ms / 1000 - self._clock(), 0.0), POLL_S)
        fetched = await consumer.getmany(timeout_ms=int(wait_s * 1000) + 1, max_records=FETCH)
        for records in fetched.values():
            self.passed += len(records)
            for record in records:
                self._expect(record.key, record.timestamp)
        now_ms = self._clock() * 1000
        while self._due and self._due[0].at_ms <= now_ms:
            outcome = heapq.heappop(self._due).outcome
            self.counts.sent += 1
            await sender.append(outcome.request_id.encode(), outcome.to_bytes(), int(now_ms))
        await sender.flush()

    def _expect(self, key: bytes | None, timestamp_ms: int) -> None:
        """Schedule the outcomes of a passed request."""
        faults = self._faults
        for task, delay_s in self._events.get(key or b"", ()):
            name = self._names[task]
            # an event follows its request, by a millisecond at least however fast days go by
            at_ms = timestamp_ms + max(delay_s * 1000 / self._time_scale, 1.0)
            outcome = Outcome((key or b"").decode(), name, int(at_ms))
            luck, length = _draws(key or b"", name, faults.seed)
            later_ms = at_ms + length * faults.held_s * 1000 / self._time_scale
            if luck < faults.duplicate:
                self.counts.duplicates += 1
                self._plan(later_ms, outcome)
            elif luck < faults.duplicate + faults.held:
                self.counts.held += 1
                at_ms = later_ms
            elif luck < faults.duplicate + faults.held + faults.unknown:
                self.counts.unknown += 1
                self._plan(at_ms, Outcome(f"unknown-{outcome.request_id}", name, outcome.ts))
            self._plan(at_ms, outcome)

    def _plan(self, at_ms: float, outcome: Outcome) -> None:
        self._numbers += 1
        heapq.heappush(self._due, _Due(at_ms, self._numbers, outcome))


def _draws(key: bytes, task: str, seed: int) -> tuple[float, float]:
    """Two pseudo-random numbers in [0, 1) of request, task and seed."""
    bits = xxhash.xxh3_64_intdigest(key + b"/" + task.encode(), seed)
    return (bits >> 32) / 2**32, (bits & 0xFFFF_FFFF) / 2**32
