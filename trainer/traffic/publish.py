"""Publishes requests to the request topic, at an open-loop rate or as fast as possible.

With a rate, each request is due at a scheduled time, independently of the requests before it. Its
record has this time as timestamp, so latency measured from it includes delays of the publisher.
Each record has the header ``seq``, its publishing index, by which the order across partitions can
be restored.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.messages import sequence_header
from trainer.simulation.traffic import Traffic
from trainer.traffic.sender import BatchSender

TICK_S: Final = 0.002
"""Requests that are due within one tick are sent together."""
SLICE: Final = 1000
"""Requests that are appended between two readings of the clock."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """Requests to publish.

    Attributes:
        keys: Record keys, length N; None for a record without a key.
        values: Record values, length N.
        due_s: Times at which they are due, in seconds from the first request of the run, ascending,
            float64 (N,); None publishes at once.
    """

    keys: list[bytes | None]
    values: list[bytes | None]
    due_s: npt.NDArray[np.float64] | None = None


class Publisher:
    """Publishes shipments in order.

    Args:
        sender: Sends to the request topic.
        clock: Wall clock in seconds since the epoch.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        sender: BatchSender,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._sleep = sleep
        self.published = 0

    async def publish(self, shipments: Iterable[Shipment]) -> int:
        """Publish all shipments and wait until the broker has acknowledged them.

        The next shipment is prepared in a thread while the current one is sent.

        Returns:
            Number of published records.
        """
        source = iter(shipments)
        start = self._clock()
        coming = asyncio.create_task(asyncio.to_thread(next, source, None))
        while (shipment := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(next, source, None))
            await self._ship(shipment, start)
        await self._sender.drain()
        return self.published

    async def _ship(self, shipment: Shipment, start: float) -> None:
        """Send a shipment; ``start`` is the wall-clock second at which the first was due."""
        first, count = 0, len(shipment.values)
        while first < count:
            now = self._clock()
            last = min(first + SLICE, count)
            if shipment.due_s is not None:
                due = int(np.searchsorted(shipment.due_s, now - start, side="right"))
                last = min(last, due)
                if last <= first:
                    await self._sender.flush()
                    await self._sleep(max(start + float(shipment.due_s[first]) - now, TICK_S))
                    continue
            await self._slice(shipment, first, last, start, now)
            first = last

    async def _slice(
        self, shipment: Shipment, first: int, last: int, start: float, now: float
    ) -> None:
        if shipment.due_s is None:
            stamps = [int(now * 1000)] * (last - first)
        else:
            stamps = ((start + shipment.due_s[first:last]) * 1000).astype(np.int64).tolist()
        keys, values = shipment.keys[first:last], shipment.values[first:last]
        for key, value, stamp in zip(keys, values, stamps, strict=True):
            await self._sender.append(key, value, stamp, [sequence_header(self.published)])
            self.published += 1


def evenly(batches: Iterable[Traffic], rate: float) -> Iterator[Shipment]:
    """Shipments of ``rate`` requests per second; 0 publishes as fast as possible."""
    sent = 0
    for traffic in batches:
        due_s = np.arange(sent, sent + len(traffic)) / rate if rate > 0 else None
        yield Shipment(_keys(traffic), list(traffic.values), due_s)
        sent += len(traffic)


def on_their_times(batches: Iterable[Traffic], time_scale: float) -> Iterator[Shipment]:
    """Shipments at the requests' own times, ``time_scale`` times as fast."""
    origin: int | None = None
    for traffic in batches:
        origin = int(traffic.timestamps[0]) if origin is None else origin
        due_s = (traffic.timestamps - origin) / 1000 / time_scale
        yield Shipment(_keys(traffic), list(traffic.values), due_s)


def _keys(traffic: Traffic) -> list[bytes | None]:
    return [request_id.encode() for request_id in traffic.ids]
