"""A lane: the way of one input partition's chunks into Kafka, each exactly once.

A lane lives as long as its worker owns the partition. It writes chunk after chunk, each in a
Kafka transaction that holds the chunk's outputs *and* the group's offset behind it. All workers use
the same transactional id for a partition, so that whoever claims it next fences the one before.

From that follows all of the recovery. A claim (InitProducerId) ends whatever transaction is open
under the id, and from then on nobody else can move the partition's offset. So after *any* error a
lane claims again and looks at the committed offset: at the start of the chunk, the chunk was not
written and is sent again; at its end, only the answer had been lost. There is nothing to guess and
no other path.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownError,
)

from stream.transport.chunk import Outputs, RecordsRefusedError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Packed = TypeVar("Packed")  # record batches, whatever the client makes of them
#: What to write instead of outputs of which a topic does not take some.
Instead = Callable[[Outputs, RecordsRefusedError], Outputs]
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0
LOST_GRACES: Final = 5  # grace periods

#: Errors of a transaction that only a new claim mends, besides the retriable ones.
_MENDED_BY_A_CLAIM: Final = (
    ConcurrentTransactions,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    UnknownError,
)
_FENCED: Final = (ProducerFenced, InvalidProducerEpoch)


class LaneState(Enum):
    """Where a lane is. See `TRANSITIONS`."""

    UNCLAIMED = "unclaimed"  # no producer epoch; what became of the last transaction is open
    CLAIMING = "claiming"  # the epoch is asked for; afterwards the committed offset is certain
    READY = "ready"  # between two transactions
    OPEN = "open"  # a transaction takes outputs and the offset
    COMMITTING = "committing"  # its end is asked for; an error leaves the outcome open
    FENCED = "fenced"  # another producer has the id; the group decides who goes on
    RELEASED = "released"  # the partition was revoked: nothing more is written
    FAILED = "failed"  # an error that no repetition mends: the process stops


_S = LaneState
TRANSITIONS: Final[Mapping[LaneState, frozenset[LaneState]]] = {
    _S.UNCLAIMED: frozenset({_S.CLAIMING, _S.RELEASED}),
    _S.CLAIMING: frozenset({_S.READY, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.READY: frozenset({_S.OPEN, _S.RELEASED}),
    _S.OPEN: frozenset({_S.COMMITTING, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.COMMITTING: frozenset({_S.READY, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.FENCED: frozenset({_S.CLAIMING, _S.RELEASED}),
    _S.RELEASED: frozenset(),
    _S.FAILED: frozenset({_S.RELEASED}),
}


class LaneError(RuntimeError):
    """A lane was asked for what its state forbids, or its offset was moved by others."""


class ReleasedError(Exception):
    """The partition was revoked before the chunk was committed; its next owner reads it again."""


class Transactions(Protocol[Packed]):
    """One partition's transactional producer, and its offset in the group.

    All that is awaited raises KafkaError, but `close`. After an error only `claim` and `close` are
    called.
    """

    async def claim(self) -> int | None:
        """Take a new producer epoch, ending any open transaction; the committed offset."""

    def pack(self, outputs: Outputs) -> Packed:
        """Make record batches of outputs, to be written once.

        Raises:
            RecordsRefusedError: If a record does not fit one, or the topic does not take it.
        """

    async def begin(self) -> None:
        """Begin a transaction."""

    async def write(self, packed: Packed, offset: int) -> None:
        """Write into the transaction, and have it commit ``offset`` for the group.

        Returns when the brokers have acknowledged everything.

        Raises:
            RecordsRefusedError: If a topic does not take some of it.
        """

    async def commit(self) -> None:
        """Commit the transaction."""

    async def close(self) -> None:
        """Leave, aborting what is open if that is quickly done."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A chunk that waits to be committed."""

    start: int
    end: int
    outputs: Outputs
    instead: Instead | None
    committed: bool = False


class Lane(Generic[Packed]):
    """Writes the chunks of one partition, in transactions.

    Chunks that come while a transaction is under way are committed by the next one together, so
    that a slow commit makes larger transactions instead of a queue.

    Args:
        name: ``topic[partition]``, for messages.
        transactions: The partition's producer.
        grace_s: How long a fenced lane waits to be released before it claims again. A worker that
            lost its partitions hears of it with its next heartbeat.
        interval_s: Least time from the beginning of a transaction to that of the next one. What
            comes meanwhile is committed together; the first one after a pause does not wait.
    """

    def __init__(
        self,
        name: str,
        transactions: Transactions[Packed],
        *,
        grace_s: float,
        interval_s: float = 0.0,
    ) -> None:
        self._name = name
        self._transactions = transactions
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._next_s = 0.0  # when the next transaction may begin
        self._turn = asyncio.Lock()
        self._waiting: list[_Waiting] = []
        self._released = asyncio.Event()
        self._failures = 0  # since the last transaction that was committed
        self.state = LaneState.UNCLAIMED

    def _to(self, state: LaneState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LaneError(f"{self._name}: a lane goes from {self.state} never to {state}")
        self.state = state

    @property
    def claimed(self) -> bool:
        """Whether it can write, or is writing."""
        return self.state in (LaneState.READY, LaneState.OPEN, LaneState.COMMITTING)

    async def claim(self) -> int | None:
        """Fence the owner before; the offset that the group has committed, or None.

        Raises:
            ReleasedError: If the partition is revoked meanwhile.
            KafkaError: One that no repetition mends.
        """
        async with self._turn:
            return await self._until_claimed()

    async def write(
        self, start: int, end: int, outputs: Outputs, instead: Instead | None = None
    ) -> None:
        """Commit the outputs of the offsets [start, end) together with offset `end`.

        Returns when that has happened, exactly once. Calls come in the order of the chunks, without
        holes; one need not have returned before the next.

        Args:
            start: First offset of the chunk.
            end: Offset behind the chunk.
            outputs: What to write.
            instead: What to write instead, if a topic does not take some of them.

        Raises:
            ReleasedError: If the partition is revoked before.
            LaneError: If somebody else has moved the group's offset.
            RecordsRefusedError: If a topic does not take some of them and there is no `instead`.
            KafkaError: One that no repetition mends.
        """
        mine = _Waiting(start, end, outputs, instead)
        self._waiting.append(mine)
        async with self._turn:
            if mine in self._waiting:
                if self._next_s > monotonic():
                    await self._unless_released(asyncio.sleep(self._next_s - monotonic()))
                self._next_s = monotonic() + self._interval_s
                group, self._waiting = self._waiting, []
                await self._commit(group)
            if not mine.committed:
                raise ReleasedError(self._name)  # the error was raised where it happened

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit chunks that follow each other, as often as it takes."""
        start, end = group[0].start, group[-1].end
        while True:
            if not self.claimed:
                committed = await self._until_claimed()
                if committed == end:
                    break
                if committed is not None and committed != start:
                    await self._give_up(committed, start, end)
            packed = self._pack(group)
            try:
                await self._unless_released(self._transact(packed, end))
            except RecordsRefusedError as error:
                _replace(group, error)
                self._to(LaneState.UNCLAIMED)
            except KafkaError as error:
                self._note(error)
            else:
                self._failures = 0
                break
        for chunk in group:
            chunk.committed = True

    def _pack(self, group: list[_Waiting]) -> Packed:
        while True:
            topics = dict.fromkeys(topic for chunk in group for topic in chunk.outputs)
            try:
                return self._transactions.pack(
                    {t: [r for chunk in group for r in chunk.outputs.get(t, ())] for t in topics}
                )
            except RecordsRefusedError as error:
                _replace(group, error)

    async def release(self) -> None:
        """Give the partition up at once; writers get ReleasedError."""
        self.state = LaneState.RELEASED
        self._released.set()
        await self._transactions.close()

    async def _transact(self, packed: Packed, end: int) -> None:
        self._to(LaneState.OPEN)
        await self._transactions.begin()
        await self._transactions.write(packed, end)
        self._to(LaneState.COMMITTING)
        await self._transactions.commit()
        self._to(LaneState.READY)

    async def _until_claimed(self) -> int | None:
        while True:
            try:
                return await self._unless_released(self._claim())
            except KafkaError as error:
                self._note(error)

    async def _give_up(self, committed: int, start: int, end: int) -> None:
        """Somebody else owns the partition: wait for the group to say so, and no longer."""
        message = (
            f"{self._name}: the group's offset is {committed} where {start} or {end} is expected"
        )
        logger.warning("%s; another worker has the partition", message)
        await self._unless_released(asyncio.sleep(LOST_GRACES * self._grace_s))
        raise LaneError(f"{message}; another program commits for this group")

    async def _claim(self) -> int | None:
        if self.state is LaneState.FENCED:
            await asyncio.sleep(self._grace_s)
        elif self._failures > 1:
            await asyncio.sleep(min(FIRST_BACKOFF_S * 2**self._failures, LAST_BACKOFF_S))
        self._to(LaneState.CLAIMING)
        committed = await self._transactions.claim()
        self._to(LaneState.READY)
        return committed

    def _note(self, error: KafkaError) -> None:
        """Go to the state that follows `error`; raise it again where that is the end."""
        self._failures += 1
        self._to(_state_after(error))
        if self.state is LaneState.FAILED:
            raise error
        logger.warning("%s: the lane is %s after %r", self._name, self.state.value, error)

    async def _unless_released(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        released = asyncio.ensure_future(self._released.wait())
        try:
            await asyncio.wait({task, released}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            released.cancel()
            task.cancel()  # nothing happens if it is done
            await asyncio.wait({task})
        if self._released.is_set():
            if not task.cancelled():
                task.exception()  # of no interest any more
            raise ReleasedError(self._name)
        return task.result()


def _replace(group: list[_Waiting], error: RecordsRefusedError) -> None:
    """Have the chunks whose records a topic does not take say what to write instead.

    Raises:
        RecordsRefusedError: If one of them has nothing to say.
    """
    first = 0
    for chunk in group:
        end = first + len(chunk.outputs.get(error.topic, ()))
        mine = error.within(first, end)
        first = end
        if mine.indices and chunk.instead is None:
            raise error
        if mine.indices and chunk.instead is not None:
            chunk.outputs = chunk.instead(chunk.outputs, mine)


def _state_after(error: KafkaError) -> LaneState:
    """What an error means for the lane; aiokafka wraps some in plain KafkaErrors, even twice."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _FENCED):
            return LaneState.FENCED
        if isinstance(found, _MENDED_BY_A_CLAIM) or getattr(found, "retriable", False):
            return LaneState.UNCLAIMED
        found = found.__cause__
    return LaneState.FAILED


async def all_of(*work: Awaitable[object]) -> None:
    """Await all; on the first error cancel the rest, wait for it, and raise that error."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
