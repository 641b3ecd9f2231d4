"""The lanes of one assignment: one for all partitions, and one for each set of slow ones.

Which lane writes a partition makes no difference to what is committed: the group fences all of
them alike, a partition is in one lane at a time, a lane of slow ones begins with a claim, which
tells it what was committed before, and it gives them back when its last transaction is committed.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from stream.transport.chunk import Instead, Outputs
from stream.transport.concurrency import all_of
from stream.transport.lanes.lane import Lane, Transactions
from stream.transport.lanes.pending import Key, Pending
from stream.transport.lanes.state import ReleasedError

logger = logging.getLogger(__name__)

Batches = TypeVar("Batches")

#: A lane of slow partitions ends when its transactions take less time than this.
FAST_S: Final = 0.5


class Lanes(Generic[Batches]):
    """Writes the chunks of one assignment.

    Args:
        keys: The partitions.
        connect: Makes a producer; no two have the same transactional id.
        grace_s: As of `Lane`.
        interval_s: As of `Lane`.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        connect: Callable[[], Transactions[Batches]],
        *,
        grace_s: float,
        interval_s: float = 0.0,
    ) -> None:
        self._connect = connect
        self._times: dict[str, float] = {"grace_s": grace_s, "interval_s": interval_s}
        self._ending: set[asyncio.Task[None]] = set()
        owned = list(keys)
        self._main: Lane[Batches] = self._new(owned, lambda _: None)
        self._lanes: dict[Key, Lane[Batches]] = dict.fromkeys(owned, self._main)

    def _new(self, keys: Collection[Key], done: Callable[[float], None]) -> Lane[Batches]:
        return Lane(keys, self._connect, move=self._move, done=done, **self._times)

    @property
    def all(self) -> list[Lane[Batches]]:
        """The lanes; the first one is that of all partitions that are not slow."""
        return list(dict.fromkeys([self._main, *self._lanes.values()]))

    async def claim(self) -> Mapping[Key, int]:
        """End what is open, and return the committed offsets; see `Lane.claim`."""
        return await self._main.claim()

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
        mine = Pending(key, start, end, outputs, instead)
        lane = self._lanes.get(key)
        if lane is not None:
            lane.add([mine])
        before = None
        while lane is not None and not mine.committed and (mine.queued or lane is not before):
            await lane.write(mine)
            before, lane = lane, self._lanes.get(key)
        if not mine.committed:
            raise ReleasedError(f"{key[0]}[{key[1]}]")  # an error was raised where it happened

    async def release(self, keys: Iterable[Key]) -> None:
        """Stop writing at once for revoked partitions; pending writes of them raise ReleasedError.

        What a transaction in progress has of the others is written again.
        """
        gone, lanes = set(keys), self.all
        self._lanes = {key: lane for key, lane in self._lanes.items() if key not in gone}
        for lane in lanes:
            if lane.owned & gone:
                await lane.release(gone)
        left = self.all if self._lanes else []
        await all_of(*(lane.close() for lane in lanes if lane not in left), *self._ending)

    async def drain(self) -> None:
        """Release the partitions that cannot be written now: not claimed yet, or expelled."""
        for lane in self.all:
            if not lane.claimed:
                await self.release(tuple(lane.owned))

    async def close(self) -> None:
        """Release all partitions."""
        await self.release(tuple(self._lanes))

    def _move(self, keys: Collection[Key], chunks: Sequence[Pending]) -> None:
        """Give slow partitions a lane of their own."""
        slow = [key for key in keys if key in self._lanes]
        logger.warning("the brokers of %s are slow; the others go on without them", sorted(slow))
        aside: Lane[Batches] = self._new(slow, lambda seconds: back(seconds))  # noqa: PLW0108 - defined below

        def back(seconds: float) -> None:
            if seconds < FAST_S:
                self._return(aside)

        aside.add(chunk for chunk in chunks if chunk.key in self._lanes)
        self._lanes |= dict.fromkeys(slow, aside)

    def _return(self, aside: Lane[Batches]) -> None:
        """The partitions are not slow any more."""
        keys = set(aside.owned)
        waiting = aside.give_up(keys)
        self._lanes |= dict.fromkeys(keys, self._main)
        self._main.owned |= keys
        self._main.add(waiting)
        task = asyncio.create_task(aside.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
