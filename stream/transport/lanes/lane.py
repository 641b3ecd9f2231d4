"""A lane: writes the chunks of a worker's input partitions to Kafka, each exactly once.

A lane exists for one assignment. It writes the chunks that wait, of any of its partitions, in one
Kafka transaction that contains their outputs *and* the group's offsets after them, committed on
behalf of the assignment's member and generation (KIP-447). So the group itself refuses a worker
that does not own its partitions any more, and a new owner, which reads only offsets that no
transaction can change any more, starts after everything that the owner before it has committed.

A transaction waits for all its partitions. So those whose brokers do not acknowledge writes, while
the others' do, are set aside: a lane of their own, with a producer of its own, writes them until
they keep up again (`assigned`). Both go on under new transactional ids.

Recovery follows from that. A claim (InitProducerId) ends any transaction that is open under the
worker's transactional id; afterwards the committed offset of each partition tells what became of
the last transaction. At the start of the chunks, they were not committed and are written again; at
their end, only the response was lost. There is nothing to guess and no other path. If the
partitions belong to others by now, the coordinator refuses the second attempt.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka.errors import KafkaError

from stream.transport.chunk import Outputs, RecordsRefusedError
from stream.transport.concurrency import all_of
from stream.transport.lanes.pending import Key, Pending, by_key, replace
from stream.transport.lanes.state import (
    ENDED,
    TRANSITIONS,
    LaneError,
    LaneState,
    RefusedError,
    ReleasedError,
    SlowError,
    state_after,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
WaitedFor = Callable[[Collection[Key]], bool]
Batches = TypeVar("Batches")  # record batches, in the form that the producer builds
FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0
LOST_GRACES: Final = 5  # grace periods
#: Chunks in a transaction at most; fewer while transactions take longer than their timeout.
MANY: Final = 1 << 20


class Transactions(Protocol[Batches]):
    """A worker's transactional producer, and the offsets of its partitions in the group.

    All coroutines but `close` raise KafkaError. After an error only `claim` and `close` are called.
    """

    async def claim(self, keys: Collection[Key]) -> Mapping[Key, int]:
        """Take a new producer epoch, ending any open transaction; return the offsets of `keys`.

        Waits until no transaction can change them. Partitions without an offset are left out.
        """

    def build(self, key: Key, outputs: Outputs) -> Batches:
        """Build record batches of the outputs of a partition; they can be written once.

        Raises:
            RecordsRefusedError: If a record does not fit a batch, or the topic does not accept it.
        """

    async def begin(self) -> None:
        """Begin a transaction."""

    async def write(
        self, batches: Mapping[Key, Batches], offsets: Mapping[Key, int], waited_for: WaitedFor
    ) -> None:
        """Add batches, and ``offsets`` as the group's offsets, to the transaction.

        Returns when the brokers have acknowledged everything. ``waited_for`` tells whether chunks
        of partitions other than these wait for the next transaction.

        Raises:
            RefusedError: If a topic does not accept some of the records.
            SlowError: If writes of some partitions are not acknowledged for a while, and others,
                of this transaction or of the next one, wait for them.
        """

    async def commit(self) -> None:
        """Commit the transaction."""

    async def close(self) -> None:
        """End an open transaction if that takes a moment only, and disconnect."""


def _keep(keys: Collection[Key], _chunks: Sequence[Pending]) -> None:
    raise LaneError(f"{sorted(keys)}: there is no other lane")


def _ignore(_seconds: float) -> None:
    pass


class _InterruptedError(Exception):
    """Some partitions were released, and others were not."""


class Lane(Generic[Batches]):
    """Writes the chunks of the partitions of one assignment, in transactions.

    Chunks that arrive during a transaction are committed together by the next one, so that a slow
    commit leads to larger transactions instead of a queue.

    Args:
        keys: The partitions.
        connect: Makes a producer, of an id that no other one has had in this assignment.
        grace_s: Time after which a worker that lost its partitions has learned so, from a
            heartbeat.
        interval_s: Minimum time between the starts of two transactions. Chunks that arrive
            meanwhile are committed together; the first one after a pause does not wait.
        move: Called with slow partitions and their chunks, which are another lane's from then on.
        done: Called with the seconds that it took, when a transaction was committed.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        connect: Callable[[], Transactions[Batches]],
        *,
        grace_s: float,
        interval_s: float = 0.0,
        move: Callable[[Collection[Key], Sequence[Pending]], None] = _keep,
        done: Callable[[float], None] = _ignore,
    ) -> None:
        self.owned = set(keys)
        self._move = move
        self._done = done
        self._connect = connect
        self._transactions = connect()
        self._ending: set[asyncio.Task[None]] = set()
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._next_s = 0.0  # when the next transaction may begin
        self._most = MANY  # chunks in a transaction
        self._lock = asyncio.Lock()
        self._pending: list[Pending] = []
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

    @property
    def released(self) -> bool:
        """Whether it is closed: all its partitions were revoked, or are another lane's."""
        return self.state is LaneState.RELEASED

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

    def add(self, chunks: Iterable[Pending]) -> None:
        """Queue chunks of its partitions; in the order of each partition, without gaps."""
        for chunk in chunks:
            chunk.queued = True
            self._pending.append(chunk)

    def give_up(self, keys: Collection[Key]) -> list[Pending]:
        """Own these partitions no more; returns what waits of them."""
        given = [chunk for chunk in self._pending if chunk.key in keys]
        self._pending = [chunk for chunk in self._pending if chunk.key not in keys]
        self.owned -= set(keys)
        return given

    async def write(self, mine: Pending) -> None:
        """Write until a queued chunk is committed, or another lane's, or its partition revoked.

        Raises:
            ReleasedError: If all partitions are revoked.
            LaneError: If another program has moved the group's offset.
            RecordsRefusedError: If a topic does not accept some records, without `instead`.
            KafkaError: A fatal one; all others are retried.
        """
        async with self._lock:
            while mine.queued and mine.key in self.owned:
                await self._pause()
                await self._commit(self._take())

    async def release(self, keys: Iterable[Key]) -> None:
        """Stop writing at once for revoked partitions.

        What a transaction in progress has of the others is written again.
        """
        self.owned -= set(keys)
        revoked, self._revoked = self._revoked, asyncio.Event()
        revoked.set()

    async def close(self) -> None:
        """Release all partitions, and disconnect."""
        if not self.released:
            self._to(LaneState.RELEASED)
            await self.release(tuple(self.owned))
            await all_of(self._transactions.close(), *self._ending)

    async def _pause(self) -> None:
        """Wait until the next transaction may begin."""
        wait_s = self._next_s - monotonic()
        if wait_s > 0:
            with suppress(_InterruptedError):
                await self._unless_revoked(asyncio.sleep(wait_s))
        self._next_s = monotonic() + self._interval_s

    def _take(self) -> list[Pending]:
        """The chunks of the next transaction."""
        group, self._pending = self._pending[: self._most], self._pending[self._most :]
        for chunk in group:
            chunk.queued = False
        return group

    async def _commit(self, group: list[Pending]) -> None:
        """Commit chunks, retrying until it succeeds; those of revoked partitions are dropped."""
        certain = self.state is LaneState.READY  # that none of them is committed
        while group := [c for c in group if c.key in self.owned and not c.committed]:
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
            except SlowError as error:
                self._interrupted()
                self._renew()
                slow = [chunk for chunk in group if chunk.key in error.keys]
                self._move(error.keys, [*slow, *self.give_up(error.keys)])

    def _interrupted(self) -> None:
        if self.state not in (LaneState.EXPELLED, LaneState.UNCLAIMED):  # it may wait in these
            self._to(LaneState.UNCLAIMED)

    def _renew(self) -> None:
        """Go on with another producer: the id of this one is blocked by the slow partitions.

        A broker gives an id no new epoch before all partitions have the markers of its transaction.
        """
        blocked, self._transactions = self._transactions, self._connect()
        task = asyncio.create_task(blocked.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _settle(self, group: list[Pending]) -> None:
        """Claim, and find out what became of these chunks: committed, or to be written again."""
        committed = await self._until_claimed()
        for key, chunks in by_key(group).items():
            at, start, end = committed.get(key), chunks[0].start, chunks[-1].end
            if at not in (None, start, end):
                await self._fail_as_lost(key, at, start, end)
            for chunk in chunks:
                chunk.committed = at == end

    def _shorten(self, group: list[Pending]) -> list[Pending]:
        """What the next transaction takes: after a timeout less, and the others wait again."""
        left = [chunk for chunk in group if not chunk.committed]
        later = left[self._most :]
        for chunk in later:
            chunk.queued = True
        self._pending[:0] = later
        return left[: self._most]

    async def _transact(self, group: list[Pending]) -> None:
        start_s = monotonic()
        try:
            await self._unless_revoked(self._write(group))
        except RefusedError as error:
            replace([chunk for chunk in group if chunk.key == error.key], error.refused)
            self._to(LaneState.UNCLAIMED)
        else:
            self._failures = 0
            self._most = min(2 * self._most, MANY)
            for chunk in group:
                chunk.committed = True
            self._done(monotonic() - start_s)

    async def _write(self, group: list[Pending]) -> None:
        batches: dict[Key, Batches] = {}
        for key, chunks in by_key(group).items():
            batches[key] = self._build(key, chunks)
            await asyncio.sleep(0)  # heartbeats and fetches continue
        self._to(LaneState.OPEN)
        await self._transactions.begin()
        ends = {chunk.key: chunk.end for chunk in group}
        await self._transactions.write(batches, ends, self._waited_for)
        self._to(LaneState.COMMITTING)
        await self._transactions.commit()
        self._to(LaneState.READY)

    def _waited_for(self, keys: Collection[Key]) -> bool:
        return any(chunk.key not in keys for chunk in self._pending)

    def _build(self, key: Key, chunks: list[Pending]) -> Batches:
        while True:
            outputs = chunks[0].outputs
            if len(chunks) > 1:
                topics = dict.fromkeys(topic for chunk in chunks for topic in chunk.outputs)
                outputs = {t: [r for c in chunks for r in c.outputs.get(t, ())] for t in topics}
            try:
                return self._transactions.build(key, outputs)
            except RecordsRefusedError as error:
                replace(chunks, error)

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
        committed = await self._transactions.claim(tuple(self.owned))
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
            ReleasedError: If the lane is closed.
            _InterruptedError: If it is not, and `work` had not ended.
        """
        if self.released:
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
        if self.released:
            if not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not log it
            raise ReleasedError("all partitions")
        if task.cancelled():
            raise _InterruptedError
        return task.result()
