"""A lane: the way of one input partition's chunks into Kafka, each exactly once.

A lane lives as long as its worker owns the partition. It writes chunk after chunk, each in one
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
from collections.abc import Awaitable, Coroutine, Mapping
from enum import Enum
from typing import Any, Final, Protocol, TypeVar

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

from stream.transport.chunk import Outputs, RecordTooLargeError

logger = logging.getLogger(__name__)

T = TypeVar("T")
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0

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


class Transactions(Protocol):
    """One partition's transactional producer, and its offset in the group.

    All but `close` raise KafkaError. After an error only `claim` and `close` are called.
    """

    async def claim(self) -> int | None:
        """Take a new producer epoch, ending any open transaction; the committed offset."""

    async def begin(self) -> None:
        """Begin a transaction."""

    async def produce(self, outputs: Outputs) -> None:
        """Write into the transaction; returns when the broker has acknowledged everything."""

    async def add_offset(self, offset: int) -> None:
        """Have the transaction commit ``offset`` for the group."""

    async def commit(self) -> None:
        """Commit the transaction."""

    async def close(self) -> None:
        """Leave, aborting what is open if that is quickly done."""


class Lane:
    """Writes the chunks of one partition, each in a transaction.

    Args:
        name: ``topic[partition]``, for messages.
        transactions: The partition's producer.
        grace_s: How long a fenced lane waits to be released before it claims again. The group
            needs its session timeout to find out that a member is gone.
    """

    def __init__(self, name: str, transactions: Transactions, *, grace_s: float) -> None:
        self._name = name
        self._transactions = transactions
        self._grace_s = grace_s
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()
        self._failures = 0  # since the last transaction that was committed
        self.state = LaneState.UNCLAIMED

    def _to(self, state: LaneState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LaneError(f"{self._name}: a lane goes from {self.state} never to {state}")
        self.state = state

    async def claim(self) -> int | None:
        """Fence the owner before; the offset that the group has committed, or None.

        Raises:
            ReleasedError: If the partition is revoked meanwhile.
            KafkaError: One that no repetition mends.
        """
        async with self._turn:
            return await self._until_claimed()

    async def write(self, start: int, end: int, outputs: Outputs) -> None:
        """Commit the outputs of the offsets [start, end) together with offset `end`.

        Returns when that has happened, exactly once. Chunks come in order, without holes.

        Raises:
            ReleasedError: If the partition is revoked before.
            LaneError: If somebody else has moved the group's offset.
                RecordTooLargeError: If an output does not fit a batch; nothing was written.
            KafkaError: One that no repetition mends.
        """
        async with self._turn:
            while True:
                if self.state in (LaneState.UNCLAIMED, LaneState.FENCED):
                    committed = await self._until_claimed()
                    if committed == end:
                        return
                    if committed is not None and committed != start:
                        raise LaneError(
                            f"{self._name}: the group's offset is {committed} where {start} or "
                            f"{end} is expected; another program commits for this group"
                        )
                try:
                    await self._unless_released(self._transact(end, outputs))
                except KafkaError as error:
                    self._note(error)
                except RecordTooLargeError:
                    self._to(LaneState.UNCLAIMED)  # a claim aborts what is open
                    raise
                else:
                    self._failures = 0
                    return

    async def release(self) -> None:
        """Give the partition up at once; writers get ReleasedError."""
        self.state = LaneState.RELEASED
        self._released.set()
        await self._transactions.close()

    async def _transact(self, end: int, outputs: Outputs) -> None:
        self._to(LaneState.OPEN)
        await self._transactions.begin()
        await all_of(self._transactions.produce(outputs), self._transactions.add_offset(end))
        self._to(LaneState.COMMITTING)
        await self._transactions.commit()
        self._to(LaneState.READY)

    async def _until_claimed(self) -> int | None:
        while True:
            try:
                return await self._unless_released(self._claim())
            except KafkaError as error:
                self._note(error)

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


def _state_after(error: KafkaError) -> LaneState:
    """What an error means for the lane; aiokafka wraps some in a plain KafkaError."""
    for found in (error, error.__cause__):
        if isinstance(found, _FENCED):
            return LaneState.FENCED
        if isinstance(found, _MENDED_BY_A_CLAIM) or getattr(found, "retriable", False):
            return LaneState.UNCLAIMED
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
