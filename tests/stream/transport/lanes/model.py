"""A model of Kafka's transactions and of a group's offsets, and lanes that write to it."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any

from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber, ProducerFenced

from stream.transport.chunk import Outputs, RecordTooLargeError
from stream.transport.lanes.assigned import Lanes
from stream.transport.lanes.lane import WaitedFor
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import ExpelledError, ReleasedError, SlowError
from stream.transport.output.sink import Member, Outgoing

END = 12  # offsets of each modelled partition
LIMIT = 10  # bytes of a value
KEY = ("in", 0)
PATIENCE = 3  # polls until a claim ends the transactions of the owner before
TIMEOUT = 6  # polls until the broker does
LATE = 50  # turns of the loop that a late request takes

Values = list[bytes | None]


@dataclass
class Transaction:
    """What the broker knows of one transactional id."""

    epoch: int = 0
    outputs: dict[Key, Values] = field(default_factory=lambda: defaultdict(list))
    offsets: dict[Key, int] = field(default_factory=dict)
    decided: bool = False  # EndTxn(commit) is accepted, and its markers are not written yet


class Broker:
    """What Kafka guarantees of transactions and of one group's offsets, and no more."""

    def __init__(self) -> None:
        self.generation = 0
        self.members: set[str] = set()
        self.committed: dict[Key, int] = {}
        self.committer: dict[Key, str] = {}
        self.outputs: dict[Key, Values] = defaultdict(list)
        self.transactions: dict[str, Transaction] = defaultdict(Transaction)

    def rebalance(self, *members: str) -> int:
        """A new generation of these members."""
        self.generation += 1
        self.members = set(members)
        return self.generation

    def complete(self, name: str) -> None:
        """Write the markers of a transaction that is decided."""
        done = self.transactions[name]
        if done.decided:
            for key, values in done.outputs.items():
                self.outputs[key] += values
            for key, offset in done.offsets.items():
                self.committed[key], self.committer[key] = offset, name
            self.transactions[name] = Transaction(done.epoch)

    def end(self, name: str) -> int:
        """A new epoch, as InitProducerId and a timeout give; aborts what is open."""
        self.complete(name)
        epoch = self.transactions[name].epoch + 1
        self.transactions[name] = Transaction(epoch)
        return epoch

    def unstable(self, keys: Iterable[Key]) -> dict[Key, str]:
        """Partitions with an offset in a transaction that has not ended, and whose it is."""
        wanted = set(keys)
        return {
            key: name
            for name, transaction in self.transactions.items()
            for key in transaction.offsets.keys() & wanted
        }


class Client:
    """A producer of the model.

    `faults` tells of each request: 0 fine, 1 lost, 2 response lost, 3 not acknowledged in time, if
    it is a write that others wait for, 4 late.
    """

    def __init__(self, broker: Broker, name: str, faults: Iterator[int], member: Member) -> None:
        self.broker = broker
        self.name = name
        self.member = member
        self.epoch = 0
        self.faults = faults
        self.closed = False

    async def _request(self, apply: Callable[[], Any]) -> Any:
        fault = next(self.faults)
        for _ in range(LATE if fault == 4 else 1):
            await asyncio.sleep(0)
        if fault == 3:
            apply()
            return True
        if fault == 1:
            raise KafkaConnectionError("lost")
        result = apply()
        await asyncio.sleep(0)
        if fault == 2:
            raise OutOfOrderSequenceNumber if result is None else KafkaConnectionError("no answer")
        return result

    def _mine(self) -> Transaction:
        mine = self.broker.transactions[self.name]
        if self.epoch != mine.epoch:
            raise ProducerFenced
        return mine

    async def claim(self, keys: Collection[Key]) -> Mapping[Key, int]:
        def apply() -> int:
            self.epoch = self.broker.end(self.name)
            return self.epoch

        await self._request(apply)
        polls = 0
        while unstable := self.broker.unstable(keys):
            polls += 1
            await asyncio.sleep(0)
            for key, name in unstable.items():
                if polls > TIMEOUT or (
                    polls > PATIENCE and self.broker.committer.get(key) == name != self.name
                ):
                    self.broker.end(name)
        return {key: at for key, at in self.broker.committed.items() if key in keys}

    async def begin(self) -> None:
        await asyncio.sleep(0)

    def build(self, _key: Key, outputs: Outputs) -> Values:
        values = [record.value for records in outputs.values() for record in records]
        for index, value in enumerate(values):
            if len(value or b"") > LIMIT:
                raise RecordTooLargeError("out", 0, {index: len(value or b"")}, LIMIT)
        return values

    async def write(
        self, batches: Mapping[Key, Values], offsets: Mapping[Key, int], waited_for: WaitedFor
    ) -> None:
        for key, values in batches.items():

            def produce(key: Key = key, values: Values = values) -> None:
                self._mine().outputs[key].extend(values)

            late = await self._request(produce)
            if late and (len(batches) > 1 or waited_for({key})):
                raise SlowError({key})

        def add() -> None:
            mine = self._mine()
            present = Member(self.member.id, self.broker.generation)
            if self.member != present or self.member.id not in self.broker.members:
                raise ExpelledError(f"{self.member}")
            mine.offsets.update(offsets)

        await self._request(add)

    async def commit(self) -> None:
        def decide() -> None:
            self._mine().decided = True

        await self._request(decide)
        self.broker.complete(self.name)

    async def close(self) -> None:
        self.closed = True
        self.broker.end(self.name)


def faultless() -> Iterator[int]:
    return repeat(0)


def new_lane(
    broker: Broker,
    faults: Iterator[int] | None = None,
    *,
    keys: Iterable[Key] = (KEY,),
    name: str = "worker",
    interval_s: float = 0.0,
) -> Lanes[Any]:
    """The lanes of a member of the present generation."""
    broker.members.add(name)
    member = Member(name, broker.generation)

    numbers = count()

    def connect() -> Client:
        return Client(broker, f"{name}-{next(numbers)}", faults or faultless(), member)

    return Lanes(keys, connect, grace_s=0.0, interval_s=interval_s)


def client_of(lane: Lanes[Any]) -> Client:
    """The producer of its lane of all partitions."""
    client = lane.all[0]._transactions
    assert isinstance(client, Client)
    return client


def outputs(start: int, end: int) -> Outputs:
    return {"out": [Outgoing(None, b"%d" % offset, offset) for offset in range(start, end)]}


async def own(lane: Lanes[Any], size: int, ahead: int = 1) -> None:
    """Write all partitions of a lane as a worker does from its assignment on."""
    owned = tuple(lane._lanes)
    positions = await lane.claim()
    each = [_own(lane, key, positions.get(key, 0), size, ahead) for key in owned]
    tasks = [asyncio.create_task(one) for one in each]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _own(lane: Lanes[Any], key: Key, position: int, size: int, ahead: int) -> None:
    """Write a partition, `ahead` chunks at a time; ends when it is revoked."""
    under_way: deque[asyncio.Task[None]] = deque()
    try:
        while position < END or under_way:
            while position < END and len(under_way) < ahead:
                end = min(position + size, END)
                writing = lane.write(key, position, end, outputs(position, end))
                under_way.append(asyncio.create_task(writing))
                position = end
            await under_way.popleft()
    except ReleasedError:
        pass
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
