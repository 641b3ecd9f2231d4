"""Any owners of any partitions, failing in any way, write every offset once and in order."""

import asyncio
from itertools import chain, repeat
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.transport.lanes.assigned import Lanes
from stream.transport.lanes.state import LaneError, ReleasedError
from tests.stream.transport.lanes.model import END, Broker, new_lane, own

KEYS = [("in", 0), ("in", 1), ("in", 2)]
WORKERS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lanes.lane.FIRST_BACKOFF_S", 0.0)


class Rebalance(NamedTuple):
    """A new generation."""

    turns: int  # of the loop until the next one
    owners: list[str]  # of each partition
    unaware: set[str]  # who does not learn of it: they sleep, or their heartbeat is late
    crashed: set[str]  # who has died instead; who owns partitions starts again
    timed_out: set[str]  # whose transaction the broker ends
    partly: bool  # whether workers release the partitions that they lose, one by one, before
    size: int  # of chunks
    ahead: int  # chunks that each partition has under way


REBALANCES = st.builds(
    Rebalance,
    turns=st.integers(0, 250),
    owners=st.lists(st.sampled_from(WORKERS), min_size=len(KEYS), max_size=len(KEYS)),
    unaware=st.sets(st.sampled_from(WORKERS)),
    crashed=st.sets(st.sampled_from(WORKERS)),
    timed_out=st.sets(st.sampled_from(WORKERS)),
    partly=st.booleans(),
    size=st.integers(1, 5),
    ahead=st.integers(1, 4),
)


def _sleeper(turns: int) -> list[Rebalance]:
    """A worker loses its partitions, and does not learn of it."""
    return [
        Rebalance(turns, ["a"] * 3, set(), set(), set(), partly=False, size=2, ahead=1),
        Rebalance(200, ["b"] * 3, {"a"}, set(), set(), partly=False, size=3, ahead=1),
    ]


#: Its claim, a write, its offsets; and its commit is late, so that the next owner has to wait.
LATE_COMMIT = [0, 0, 0, 4]


@settings(max_examples=400, deadline=None)
@example(faults=LATE_COMMIT, rebalances=_sleeper(15))
@example(faults=LATE_COMMIT, rebalances=_sleeper(30))
@example(faults=LATE_COMMIT, rebalances=_sleeper(45))
@given(
    faults=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]), max_size=60),
    rebalances=st.lists(REBALANCES, min_size=1, max_size=6),
)
def test_any_owners_that_fail_in_any_way_write_every_offset_once_in_order(
    faults: list[int], rebalances: list[Rebalance]
) -> None:
    """Crashes, revocations, zombies, timeouts and lost requests duplicate and lose nothing."""
    asyncio.run(_play(faults, rebalances))


async def _play(faults: list[int], rebalances: list[Rebalance]) -> None:
    fleet = _Fleet(chain(faults, repeat(0)))
    for rebalance in rebalances:
        await fleet.rebalance(rebalance)
        for _ in range(rebalance.turns):
            await asyncio.sleep(0)
    for lanes in fleet.lanes.values():  # in the end the group tells each of them
        for lane in lanes:
            await lane.close()
    ends = await asyncio.gather(*fleet.owners, return_exceptions=True)
    assert not [end for end in ends if end is not None and not _expected(end)]
    broker = fleet.broker
    broker.rebalance("last")
    await own(new_lane(broker, keys=KEYS, name="last"), 3)
    for key in KEYS:
        assert broker.outputs[key] == [b"%d" % offset for offset in range(END)]
        assert broker.committed[key] == END


def _expected(end: BaseException | None) -> bool:
    """Whether an owner may end so: a zombie may also find its offset moved."""
    if isinstance(end, LaneError):
        return "another program commits" in str(end)
    return isinstance(end, asyncio.CancelledError | ReleasedError)


class _Fleet:
    """Workers of the model; a worker has one transactional id for all its lives in the group."""

    def __init__(self, faults: Any) -> None:
        self.broker = Broker()
        self.faults = faults
        self.lanes: dict[str, list[Lanes[Any]]] = {name: [] for name in WORKERS}
        self.running: dict[str, list[asyncio.Task[None]]] = {name: [] for name in WORKERS}
        self.owners: list[asyncio.Task[None]] = []
        self.lives = dict.fromkeys(WORKERS, 0)

    async def rebalance(self, change: Rebalance) -> None:
        owned = {
            name: [key for key, owner in zip(KEYS, change.owners, strict=True) if owner == name]
            for name in WORKERS
        }
        for name in change.timed_out:
            self.broker.end(f"{self._id(name)}-0")
        for name in WORKERS:
            await self._leave(name, change, owned[name])
        present = [n for n in WORKERS if n not in change.unaware or n in change.crashed]
        self.broker.rebalance(*map(self._id, present))
        for name in present:
            if owned[name]:
                lane = new_lane(self.broker, self.faults, keys=owned[name], name=self._id(name))
                self.lanes[name].append(lane)
                task = asyncio.create_task(own(lane, change.size, change.ahead))
                self.running[name].append(task)
                self.owners.append(task)

    async def _leave(self, name: str, change: Rebalance, keeps: list[tuple[str, int]]) -> None:
        if name in change.crashed:
            for task in self.running[name]:
                task.cancel()
            await asyncio.gather(*self.running[name], return_exceptions=True)
            self.lives[name] += 1
            self.lanes[name].clear()
        elif name not in change.unaware:
            for lane in self.lanes[name]:
                if change.partly:
                    for key in KEYS:
                        if key not in keeps:
                            await lane.release([key])
                            for _ in range(change.turns // 8):
                                await asyncio.sleep(0)
                await lane.close()
            self.lanes[name].clear()

    def _id(self, name: str) -> str:
        return f"{name}{self.lives[name]}"
