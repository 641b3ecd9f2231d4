"""A lane: writes the chunks of one input partition to Kafka, each exactly once.

A lane exists while its worker owns the partition. It writes chunk after chunk, each in a Kafka
transaction that contains the chunk's outputs *and* the group's offset after it. All workers use the
same transactional id for a partition, so that its next owner fences the previous one.

Recovery follows from that. A claim (InitProducerId) ends any transaction that is open under the
id, and from then on nobody else can move the partition's offset. So after *any* error a lane claims
again and reads the committed offset: at the start of the chunk, the chunk was not committed and is
written again; at its end, only the response was lost. There is nothing to guess and no other path.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka.errors import KafkaError

from stream.transport.chunk import Instead, Outputs, RecordsRefusedError
from stream.transport.lane_state import (
    TRANSITIONS,
    LaneError,
    LaneState,
    ReleasedError,
    state_after,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Batches = TypeVar("Batches")  # record batches, in the form that the producer builds
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0
LOST_GRACES: Final = 5  # grace periods


class Transactions(Protocol[Batches]):
    """One partition's transactional producer, and its offset in the group.

    All coroutines but `close` raise KafkaError. After an error only `claim` and `close` are called.
    """

    async def claim(self) -> int | None:
        """Take a new producer epoch, ending any open transaction; return the committed offset."""

    def build(self, outputs: Outputs) -> Batches:
        """Build record batches of outputs; they can be written once.

        Raises:
            RecordsRefusedError: If a record does not fit a batch, or the topic does not accept it.
        """

    async def begin(self) -> None:
        """Begin a transaction."""

    async def write(self, batches: Batches, offset: int) -> None:
        """Add batches, and ``offset`` as the group's offset, to the transaction.

        Returns when the brokers have acknowledged everything.

        Raises:
            RecordsRefusedError: If a topic does not accept some of the records.
        """

    async def commit(self) -> None:
        """Commit the transaction."""

    async def close(self) -> None:
        """Abort an open transaction if that takes a moment only, and disconnect."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A chunk that waits for its commit."""

    start: int
    end: int
    outputs: Outputs
    instead: Instead | None
    committed: bool = False


class Lane(Generic[Batches]):
    """Writes the chunks of one partition, in transactions.

    Chunks that arrive during a transaction are committed together by the next one, so that a slow
    commit leads to larger transactions instead of a queue.

    Args:
        name: ``topic[partition]``, for messages.
        transactions: The partition's producer.
        grace_s: Time that a fenced lane waits to be released before it claims again. A worker that
            lost its partitions learns so from its next heartbeat.
        interval_s: Minimum time between the starts of two transactions. Chunks that arrive
            meanwhile are committed together; the first one after a pause does not wait.
    """

    def __init__(
        self,
        name: str,
        transactions: Transactions[Batches],
        *,
        grace_s: float,
        interval_s: float = 0.0,
    ) -> None:
        self._name = name
        self._transactions = transactions
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._next_s = 0.0  # when the next transaction may begin
        self._lock = asyncio.Lock()
        self._pending: list[_Pending] = []
        self._released = asyncio.Event()
        self._failures = 0  # since the last transaction that was committed
        self.state = LaneState.UNCLAIMED

    def _to(self, state: LaneState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LaneError(f"{self._name}: no transition from {self.state} to {state}")
        self.state = state

    @property
    def claimed(self) -> bool:
        """Whether it can write, or is writing."""
        return self.state in (LaneState.READY, LaneState.OPEN, LaneState.COMMITTING)

    async def claim(self) -> int | None:
        """Fence the previous owner; return the offset that the group has committed, or None.

        Raises:
            ReleasedError: If the partition is revoked meanwhile.
            KafkaError: A fatal one; all others are retried.
        """
        async with self._lock:
            return await self._until_claimed()

    async def write(
        self, start: int, end: int, outputs: Outputs, instead: Instead | None = None
    ) -> None:
        """Commit the outputs of the offsets [start, end) together with offset `end`.

        Returns when that has happened, exactly once. Calls are made in the order of the chunks,
        without gaps; a call need not have returned before the next one.

        Args:
            start: First offset of the chunk.
            end: Offset after the chunk.
            outputs: Records to write.
            instead: Returns what to write instead, if a topic does not accept some of them.

        Raises:
            ReleasedError: If the partition is revoked before the commit.
            LaneError: If another program has moved the group's offset.
            RecordsRefusedError: If a topic does not accept some of them and `instead` is None.
            KafkaError: A fatal one; all others are retried.
        """
        mine = _Pending(start, end, outputs, instead)
        self._pending.append(mine)
        async with self._lock:
            if mine in self._pending:
                if self._next_s > monotonic():
                    await self._unless_released(asyncio.sleep(self._next_s - monotonic()))
                self._next_s = monotonic() + self._interval_s
                group, self._pending = self._pending, []
                await self._commit(group)
            if not mine.committed:
                raise ReleasedError(self._name)  # the error was raised where it happened

    async def _commit(self, group: list[_Pending]) -> None:
        """Commit consecutive chunks, retrying until it succeeds."""
        start, end = group[0].start, group[-1].end
        while True:
            if not self.claimed:
                committed = await self._until_claimed()
                if committed == end:
                    break
                if committed is not None and committed != start:
                    await self._fail_as_lost(committed, start, end)
            batches = self._build(group)
            try:
                await self._unless_released(self._transact(batches, end))
            except RecordsRefusedError as error:
                _replace(group, error)
                self._to(LaneState.UNCLAIMED)
            except KafkaError as error:
                self._handle(error)
            else:
                self._failures = 0
                break
        for chunk in group:
            chunk.committed = True

    def _build(self, group: list[_Pending]) -> Batches:
        while True:
            topics = dict.fromkeys(topic for chunk in group for topic in chunk.outputs)
            try:
                return self._transactions.build(
                    {t: [r for chunk in group for r in chunk.outputs.get(t, ())] for t in topics}
                )
            except RecordsRefusedError as error:
                _replace(group, error)

    async def release(self) -> None:
        """Stop writing at once: the partition is revoked. Pending writes raise ReleasedError."""
        self.state = LaneState.RELEASED
        self._released.set()
        await self._transactions.close()

    async def _transact(self, batches: Batches, end: int) -> None:
        self._to(LaneState.OPEN)
        await self._transactions.begin()
        await self._transactions.write(batches, end)
        self._to(LaneState.COMMITTING)
        await self._transactions.commit()
        self._to(LaneState.READY)

    async def _until_claimed(self) -> int | None:
        while True:
            try:
                return await self._unless_released(self._claim())
            except KafkaError as error:
                self._handle(error)

    async def _fail_as_lost(self, committed: int, start: int, end: int) -> None:
        """Another member seems to own the partition: wait for the rebalance, then raise."""
        message = (
            f"{self._name}: the group's offset is {committed} where {start} or {end} is expected"
        )
        logger.warning(
            "%s; another worker seems to own the partition, waiting for a rebalance", message
        )
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

    def _handle(self, error: KafkaError) -> None:
        """Go to the state that follows `error`; raise it if it is fatal."""
        self._failures += 1
        self._to(state_after(error))
        if self.state is LaneState.FAILED:
            raise error
        logger.warning(
            "%s: the lane is %s after %r, recovering", self._name, self.state.value, error
        )

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
                task.exception()  # retrieved, so that asyncio does not log it
            raise ReleasedError(self._name)
        return task.result()


def _replace(group: list[_Pending], error: RecordsRefusedError) -> None:
    """Replace the outputs of the chunks whose records a topic has refused.

    Raises:
        RecordsRefusedError: If one of these chunks has no `instead`.
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
