"""A model of a transactional producer and a group's offset, and lanes that write to it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber, ProducerFenced

from stream.transport.chunk import Outputs, RecordTooLargeError
from stream.transport.lane import Lane
from stream.transport.output.sink import Outgoing

END = 12  # offsets of the modelled partition
LIMIT = 10  # bytes of a value


@dataclass
class Partition:
    """What Kafka guarantees for one transactional id and one group's offset, and no more."""

    committed: int | None = None
    outputs: list[bytes | None] = field(default_factory=list)
    epoch: int = 0
    open: list[bytes | None] = field(default_factory=list)
    offset: int | None = None

    def claim(self) -> int:
        self.epoch += 1
        self.open, self.offset = [], None
        return self.epoch

    def commit(self) -> None:
        self.outputs += self.open
        if self.offset is not None:
            self.committed = self.offset
        self.open, self.offset = [], None


class Client:
    """A producer of the model. `faults` tells of each request: 0 fine, 1 lost, 2 response lost."""

    def __init__(self, partition: Partition, faults: Iterator[int]) -> None:
        self.partition = partition
        self.epoch = 0
        self.faults = faults
        self.closed = False

    async def _request(self, apply: Callable[[], Any]) -> Any:
        fault = next(self.faults)
        await asyncio.sleep(0)
        if fault == 1:
            raise KafkaConnectionError("lost")
        result = apply()
        await asyncio.sleep(0)
        if fault == 2:
            raise OutOfOrderSequenceNumber if result is None else KafkaConnectionError("no answer")
        return result

    def _fenced(self, apply: Callable[[], None]) -> Callable[[], None]:
        def checked() -> None:
            if self.epoch != self.partition.epoch:
                raise ProducerFenced
            apply()

        return checked

    async def claim(self) -> int | None:
        def apply() -> int:
            self.epoch = self.partition.claim()
            return self.epoch

        await self._request(apply)
        return self.partition.committed

    async def begin(self) -> None:
        await asyncio.sleep(0)

    def build(self, outputs: Outputs) -> list[bytes | None]:
        values = [record.value for records in outputs.values() for record in records]
        for index, value in enumerate(values):
            if len(value or b"") > LIMIT:
                raise RecordTooLargeError("out", 0, {index: len(value or b"")}, LIMIT)
        return values

    async def write(self, batches: list[bytes | None], offset: int) -> None:
        await self._request(self._fenced(lambda: self.partition.open.extend(batches)))
        await self._request(self._fenced(lambda: setattr(self.partition, "offset", offset)))

    async def commit(self) -> None:
        await self._request(self._fenced(self.partition.commit))

    async def close(self) -> None:
        self.closed = True


def faultless() -> Iterator[int]:
    return repeat(0)


def new_lane(partition: Partition, faults: Iterator[int] | None = None) -> Lane[Any]:
    return Lane("in[0]", Client(partition, faults or faultless()), grace_s=0.0)


def outputs(start: int, end: int) -> Outputs:
    return {"out": [Outgoing(None, b"%d" % offset, offset) for offset in range(start, end)]}


async def own(lane: Lane[Any], size: int, ahead: int = 1) -> None:
    """Write a partition as a worker does from its assignment on, `ahead` chunks at a time."""
    position = await lane.claim() or 0
    under_way: deque[asyncio.Task[None]] = deque()
    try:
        while position < END or under_way:
            while position < END and len(under_way) < ahead:
                end = min(position + size, END)
                writing = lane.write(position, end, outputs(position, end))
                under_way.append(asyncio.create_task(writing))
                position = end
            await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
