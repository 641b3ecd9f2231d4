"""Any owners of a partition, failing in any way, write every offset once and in order."""

import asyncio
from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.transport.lane_state import LaneError, ReleasedError
from tests.stream.transport.lanes import END, Partition, new_lane, own


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lane.FIRST_BACKOFF_S", 0.0)


@settings(max_examples=300, deadline=None)
@given(
    faults=st.lists(st.sampled_from([0, 0, 0, 1, 2]), max_size=40),
    schedule=st.lists(
        st.tuples(
            st.integers(1, 5),  # chunk size of the next owner
            st.integers(1, 4),  # chunks that it has under way
            st.integers(0, 40),  # turns of the loop until it owns the partition
            st.sampled_from(["crash", "revoke", "zombie"]),  # what becomes of the owner before
        ),
        max_size=6,
    ),
)
def test_any_owners_that_fail_in_any_way_write_every_offset_once_in_order(
    faults: list[int], schedule: list[tuple[int, int, int, str]]
) -> None:
    """Crashes, revocations, zombies, lost requests and responses duplicate and lose nothing."""
    asyncio.run(_play(faults, schedule))


async def _play(faults: list[int], schedule: list[tuple[int, int, int, str]]) -> None:
    partition = Partition()
    shared = chain(faults, repeat(0))
    lane = new_lane(partition, shared)
    lanes = [lane]
    owners = [asyncio.create_task(own(lane, 2))]
    for size, ahead, turns, fate in schedule:
        for _ in range(turns):
            await asyncio.sleep(0)
        if fate == "crash":
            owners[-1].cancel()
        elif fate == "revoke":
            await lane.release()
        lane = new_lane(partition, shared)
        lanes.append(lane)
        owners.append(asyncio.create_task(own(lane, size, ahead)))
    for zombie in lanes[:-1]:  # in the end the group tells each of them
        await zombie.release()
    ends = await asyncio.gather(*owners, return_exceptions=True)
    unexpected = [
        end
        for end in ends
        if not isinstance(end, None | asyncio.CancelledError | ReleasedError | LaneError)
    ]
    assert not unexpected
    await own(new_lane(partition), 3)
    assert partition.outputs == [b"%d" % offset for offset in range(END)]
    assert partition.committed == END
