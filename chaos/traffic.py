"""Publishes requests at a steady rate in the background, also during failures.

Most are simulated bid requests; some are malformed, some longer than a worker accepts, some without
a key. Only records that reach the input topic count, not those that the brokers refuse.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.settings import Settings
from stream.kafka.client import client_options
from trainer.simulation.simulator import Simulator
from trainer.traffic.examples import batches

TICK_S: Final = 0.05
#: One in so many records is malformed, longer than a worker accepts, without a key.
BROKEN, LONG, KEYLESS = 97, 499, 41
#: Requests simulated at a time, and sent at a time when they are not paced.
BLOCK: Final = 2000

Row = tuple[bytes | None, bytes, list[tuple[str, bytes]]]


class Traffic:
    """Publishes requests until :meth:`finish`; an async context manager.

    Args:
        settings: Brokers, input topic, and maximum size of a request.
        seed: Seed of the simulated requests.
        requests: Minimum number of acknowledged requests.
        pace: Requests per second while the failures go on.
    """

    def __init__(self, settings: Settings, seed: int, requests: int, pace: float) -> None:
        self._topic = settings.topics.requests
        self._options = client_options(settings.kafka)
        self._rows = _rows(seed, settings.worker.max_value_bytes)
        self._requests = requests
        self._pace = pace
        self._paced = True
        self._in_flight: set[asyncio.Future[object]] = set()
        self.acknowledged = 0
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self._options, acks="all", enable_idempotence=True, linger_ms=5
        )
        await self._producer.start()
        self._task = asyncio.create_task(self._publish())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._producer.stop()

    def check(self) -> None:
        """Raise the error that ended the publishing, if any."""
        if self._task.done():
            self._task.result()

    async def finish(self) -> None:
        """Publish the remaining requests without pacing; returns once all are acknowledged."""
        self._paced = False
        await self._task

    async def _publish(self) -> None:
        start, sent = time.monotonic(), 0
        while self._paced:
            due = int((time.monotonic() - start) * self._pace)
            await self._send(due - sent)
            sent = due
            await asyncio.sleep(TICK_S)
        await self._flush()
        while self.acknowledged < self._requests:
            await self._send(min(BLOCK, self._requests - self.acknowledged))
            await self._flush()

    async def _send(self, count: int) -> None:
        """Pass records to the producer; waits while its buffer is full."""
        for key, value, headers in islice(self._rows, count):
            try:
                future = await self._producer.send(self._topic, value, key, headers=headers)
            except KafkaError:  # the buffer has been full for too long: the brokers are down
                self.refused += 1
                continue
            self._in_flight.add(future)
            future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[object]) -> None:
        self._in_flight.discard(future)
        if future.cancelled() or future.exception() is not None:
            self.refused += 1
        else:
            self.acknowledged += 1

    async def _flush(self) -> None:
        while self._in_flight:
            await asyncio.wait(self._in_flight)


def _rows(seed: int, too_long: int) -> Iterator[Row]:
    """Keys, values and headers, endlessly."""
    number = 0
    for traffic in batches(Simulator(seed), 0, 10**12, BLOCK):
        for request_id, request in zip(traffic.ids, traffic.values, strict=True):
            number += 1
            value = request
            if number % BROKEN == 0:
                value = b"{broken %d" % number
            elif number % LONG == 0:
                value = request.ljust(too_long + 1 + number % 100)
            key = None if number % KEYLESS == 0 else request_id.encode()
            yield key, value, [("number", b"%d" % number)] if number % 3 else []
