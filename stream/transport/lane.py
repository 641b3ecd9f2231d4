"""A lane: writes the chunks of a worker's input partitions to Kafka, each exactly once.

A lane exists for one assignment. It writes the chunks that wait, of any of its partitions, in one
Kafka transaction that contains their outputs *and* the group's offsets after them, committed on
behalf of the assignment's member and generation (KIP-447). So the group itself refuses a worker
that does not own its partitions any more, and a new owner, which reads only offsets that no
transaction can change any more, starts after everything that the owner before it has committed.

Recovery follows from that. A claim (InitProducerId) ends any transaction that is open under the
worker's transactional id; afterwards the committed offset of each partition tells what became of
the last transaction. At the start of the chunks, they were not committed and are written again; at
their end, only the response was lost. There is nothing to guess and no other path. If the
partitions belong to others by now, the coordinator refuses the second attempt.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka.errors import KafkaError

from stream.transport.chunk import Instead, Outputs, RecordsRefusedError
from stream.transport.lane_state import (
    ENDED,
    TRANSITIONS,
    LaneError,
    LaneState,
    RefusedError,
    ReleasedError,
    state_after,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Batches = TypeVar("Batches")  # record batches, in the form that the producer builds
Key = tuple[str, int]  # topic and number of an input partition
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0
LOST_GRACES: Final = 5  # grace periods
#: Chunks in a transaction at most; fewer while transactions take longer than their timeout.
MANY: Final = 1 << 20


class Transactions(Protocol[Batches]):
    """A worker's transactional producer, and the offsets of its partitions in the group.

    All coroutines but `close` raise KafkaError. After an error only `claim` and `close` are called.
    """

    async def claim(self) -> Mapping[Key, int]:
        """Take a new producer epoch, ending any open transaction; return the committed offsets.

        Waits until no transaction can change them. Partitions without an offset are left out.
        """

    def build(self, key: Key, outputs: Outputs) -> Batches:
        """Build record batches of the outputs of a partition; they can be written once.

        Raises:
            RecordsRefusedError: If a record does not fit a batch, or the topic does not accept it.
        """

    async def begin(self) -> None:
        """Begin a transaction."""

    async def write(self, batches: Mapping[Key, Batches], offsets: Mapping[Key, int]) -> None:
        """Add batches, and ``offsets`` as the group's offsets, to the transaction.

        Returns when the brokers have acknowledged everything.

        Raises:
            RefusedError: If a topic does not accept some of the records.
        """

    async def commit(self) -> None:
        """Commit the transaction."""

    async def close(self) -> None:
        """End an open transaction if that takes a moment only, and disconnect."""


class _InterruptedError(Exception):
    """Some partitions were released, and others were not."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A chunk that waits for its commit."""

    key: Key
    start: int
    end: int
    outputs: Outputs
    instead: Instead | None
    queued: bool = True
    committed: bool = False


class Lane(Generic[Batches]):
    """Writes the chunks of the partitions of one assignment, in transactions.

    Chunks that arrive during a transaction are committed together by the next one, so that a slow
    commit leads to larger transactions instead of a queue.

    Args:
        keys: The partitions.
        transactions: The worker's producer.
        grace_s: Time after which a worker that lost its partitions has learned so, from a
            heartbeat.
        interval_s: Minimum time between the starts of two transactions. Chunks that arrive
            meanwhile are committed together; the first one after a pause does not wait.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        transactions: Transactions[Batches],
        *,
        grace_s: float,
        interval_s: float = 0.0,
    ) -> None:
        self._owned = set(keys)
        self._transactions = transactions
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._next_s = 0.0  # when the next transaction may begin
        self._most = MANY  # chunks in a transaction
        self._lock = asyncio.Lock()
        self._pending: list[_Pending] = []
        self._revoked = asyncio.Event()  # replaced when it is set
        self._failures = 0  # since the last transaction that was committed
        self.state = LaneState.UNCLAIMED

    def _to(self, state: LaneState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LaneError(f"no transition of a lane from {self.state} to {state}")
        self.state = state

    @property
    def claimed(self) -> bool:
        """Whether it can write, or is writing."""
        return self.state in (LaneState.READY, LaneState.OPEN, LaneState.COMMITTING)

    async def claim(self) -> Mapping[Key, int]:
        """End what is open, and return the offsets that the group has committed.

        Raises:
            ReleasedError: If the partitions are revoked meanwhile.
            KafkaError: A fatal one; all others are retried.
        """
        async with self._lock:
            while True:
                try:
                    return await self._until_claimed()
                except _InterruptedError:
                    self._interrupted()

    async def write(
        self, key: Key, start: int, end: int, outputs: Outputs, instead: Instead | None = None
    ) -> None:
        """Commit the outputs of a partition's offsets [start, end) together with offset `end`.

        Returns when that has happened, exactly once. Calls for a partition are made in the order of
        its chunks, without gaps; a call need not have returned before the next one.

        Args:
            key: Topic and number of the input partition.
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
        mine = _Pending(key, start, end, outputs, instead)
        self._pending.append(mine)
        async with self._lock:
            while mine.queued and key in self._owned:
                await self._pause()
                await self._commit(self._take())
            if not mine.committed:
                raise ReleasedError(f"{key[0]}[{key[1]}]")  # an error was raised where it happened

    async def release(self, keys: Iterable[Key]) -> None:
        """Stop writing at once for revoked partitions; pending writes of them raise ReleasedError.

        What a transaction in progress has of the others is written again.
        """
        self._owned -= set(keys)
        revoked, self._revoked = self._revoked, asyncio.Event()
        revoked.set()
        if not self._owned and self.state is not LaneState.RELEASED:
            self._to(LaneState.RELEASED)
            await self._transactions.close()

    async def release_all(self) -> None:
        """Release all partitions."""
        await self.release(tuple(self._owned))

    async def _pause(self) -> None:
        """Wait until the next transaction may begin."""
        wait_s = self._next_s - monotonic()
        if wait_s > 0:
            with suppress(_InterruptedError):
                await self._unless_revoked(asyncio.sleep(wait_s))
        self._next_s = monotonic() + self._interval_s

    def _take(self) -> list[_Pending]:
        """The chunks of the next transaction."""
        group, self._pending = self._pending[: self._most], self._pending[self._most :]
        for chunk in group:
            chunk.queued = False
        return group

    async def _commit(self, group: list[_Pending]) -> None:
        """Commit chunks, retrying until it succeeds; those of revoked partitions are dropped."""
        certain = self.state is LaneState.READY  # that none of them is committed
        while group := [c for c in group if c.key in self._owned and not c.committed]:
            try:
                if certain:
                    certain = False
                    await self._transact(group)
                else:
                    await self._settle(group)
                    group = self._shorten(group)
                    certain = True
            except KafkaError as error:
                if isinstance(error, ENDED):
                    self._most = max(1, len(group) // 2)
                self._handle(error)
            except _InterruptedError:
                self._interrupted()

    def _interrupted(self) -> None:
        if self.state is not LaneState.EXPELLED:
            self._to(LaneState.UNCLAIMED)

    async def _settle(self, group: list[_Pending]) -> None:
        """Claim, and find out what became of these chunks: committed, or to be written again."""
        committed = await self._until_claimed()
        for key, chunks in _by_key(group).items():
            at, start, end = committed.get(key), chunks[0].start, chunks[-1].end
            if at not in (None, start, end):
                await self._fail_as_lost(key, at, start, end)
            for chunk in chunks:
                chunk.committed = at == end

    def _shorten(self, group: list[_Pending]) -> list[_Pending]:
        """What the next transaction takes: after a timeout less, and the others wait again."""
        left = [chunk for chunk in group if not chunk.committed]
        later = left[self._most :]
        for chunk in later:
            chunk.queued = True
        self._pending[:0] = later
        return left[: self._most]

    async def _transact(self, group: list[_Pending]) -> None:
        try:
            await self._unless_revoked(self._write(group))
        except RefusedError as error:
            _replace([chunk for chunk in group if chunk.key == error.key], error.refused)
            self._to(LaneState.UNCLAIMED)
        else:
            self._failures = 0
            self._most = min(2 * self._most, MANY)
            for chunk in group:
                chunk.committed = True

    async def _write(self, group: list[_Pending]) -> None:
        batches: dict[Key, Batches] = {}
        for key, chunks in _by_key(group).items():
            batches[key] = self._build(key, chunks)
            await asyncio.sleep(0)  # heartbeats and fetches continue
        self._to(LaneState.OPEN)
        await self._transactions.begin()
        await self._transactions.write(batches, {chunk.key: chunk.end for chunk in group})
        self._to(LaneState.COMMITTING)
        await self._transactions.commit()
        self._to(LaneState.READY)

    def _build(self, key: Key, chunks: list[_Pending]) -> Batches:
        while True:
            outputs = chunks[0].outputs
            if len(chunks) > 1:
                topics = dict.fromkeys(topic for chunk in chunks for topic in chunk.outputs)
                outputs = {t: [r for c in chunks for r in c.outputs.get(t, ())] for t in topics}
            try:
                return self._transactions.build(key, outputs)
            except RecordsRefusedError as error:
                _replace(chunks, error)

    async def _until_claimed(self) -> Mapping[Key, int]:
        while True:
            try:
                return await self._unless_revoked(self._claim())
            except KafkaError as error:
                self._handle(error)

    async def _claim(self) -> Mapping[Key, int]:
        if self.state is LaneState.EXPELLED:
            await asyncio.Event().wait()  # until the release, which the next heartbeat brings
        if self._failures > 1:
            await asyncio.sleep(min(FIRST_BACKOFF_S * 2**self._failures, LAST_BACKOFF_S))
        self._to(LaneState.CLAIMING)
        committed = await self._transactions.claim()
        self._to(LaneState.READY)
        return committed

    async def _fail_as_lost(self, key: Key, committed: int | None, start: int, end: int) -> None:
        """Another member seems to own the partition: wait for the rebalance, then raise."""
        message = (
            f"{key[0]}[{key[1]}]: the group's offset is {committed} where {start} or {end} is "
            "expected"
        )
        logger.warning(
            "%s; another worker seems to own the partition, waiting for a rebalance", message
        )
        await self._unless_revoked(asyncio.sleep(LOST_GRACES * self._grace_s))
        raise LaneError(f"{message}; another program commits for this group")

    def _handle(self, error: KafkaError) -> None:
        """Go to the state that follows `error`; raise it if it is fatal."""
        self._failures += 1
        self._to(state_after(error))
        if self.state is LaneState.FAILED:
            raise error
        logger.warning("the lane is %s after %r", self.state.value, error)

    async def _unless_revoked(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; cancel it if partitions are revoked.

        Raises:
            ReleasedError: If no partition is left.
            _InterruptedError: If others are left, and `work` had not ended.
        """
        if not self._owned:
            work.close()
            raise ReleasedError("all partitions")
        task = asyncio.ensure_future(work)
        revoked = asyncio.ensure_future(self._revoked.wait())
        try:
            await asyncio.wait({task, revoked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            revoked.cancel()
            task.cancel()  # nothing happens if it is done
            await asyncio.wait({task})
        if not self._owned:
            if not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not log it
            raise ReleasedError("all partitions")
        if task.cancelled():
            raise _InterruptedError
        return task.result()


def _by_key(group: Iterable[_Pending]) -> dict[Key, list[_Pending]]:
    """Chunks by partition, in order."""
    chunks: dict[Key, list[_Pending]] = {}
    for chunk in group:
        chunks.setdefault(chunk.key, []).append(chunk)
    return chunks


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
