"""How one lane handles errors, releases, fencing, and chunks that wait."""

import asyncio
from itertools import chain, repeat
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from stream.transport.lane import Lane
from stream.transport.lane_state import LaneError, LaneState, ReleasedError
from tests.stream.transport.lanes import Client, Partition, faultless, new_lane, outputs


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lane.FIRST_BACKOFF_S", 0.0)


async def test_a_commit_whose_response_is_lost_is_not_repeated() -> None:
    """The committed offset shows that the transaction was committed."""
    partition = Partition()
    lane = new_lane(partition, chain([0, 0, 0, 2], repeat(0)))  # claim, produce, offset, commit
    await lane.claim()
    await lane.write(0, 3, outputs(0, 3))
    assert partition.outputs == [b"0", b"1", b"2"]
    assert partition.epoch == 2, "the outcome was found out by a second claim"


async def test_a_fatal_error_ends_the_lane() -> None:
    """A missing permission is raised, not retried."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()

    async def refuse(_batches: Any, _offset: int) -> None:
        raise TopicAuthorizationFailedError("out")

    client.write = refuse  # type: ignore[method-assign]
    with pytest.raises(TopicAuthorizationFailedError):
        await lane.write(0, 1, outputs(0, 1))
    assert lane.state is LaneState.FAILED
    assert partition.outputs == []


async def test_an_error_is_classified_by_its_cause() -> None:
    """A lost connection is retried, although aiokafka wraps it in plain errors, even twice."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    fine = client.commit

    async def break_once() -> None:
        client.commit = fine  # type: ignore[method-assign]
        wrapped = KafkaError("lookup")
        wrapped.__cause__ = KafkaConnectionError("closed")
        raise KafkaError("delivery") from wrapped

    client.commit = break_once  # type: ignore[method-assign]
    await lane.write(0, 2, outputs(0, 2))
    assert partition.outputs == [b"0", b"1"]


async def test_chunks_that_wait_are_committed_together() -> None:
    """A slow commit makes a larger transaction, not a queue of them."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    commits = []

    async def commit() -> None:
        commits.append(partition.offset)
        partition.commit()

    client.commit = commit  # type: ignore[method-assign]
    await asyncio.gather(*(lane.write(n, n + 1, outputs(n, n + 1)) for n in range(5)))
    assert commits == [1, 5]
    assert partition.outputs == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_release_interrupts_a_write_that_waits() -> None:
    """A write that waits for the broker raises at once when the partition is revoked."""
    client = Client(Partition(), faultless())
    lane = Lane("in[0]", client, grace_s=0.0)
    await lane.claim()
    begun = asyncio.Event()

    async def hang(_batches: Any, _offset: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    client.write = hang  # type: ignore[method-assign]
    writing = asyncio.create_task(lane.write(0, 1, outputs(0, 1)))
    await begun.wait()
    await lane.release()
    with pytest.raises(ReleasedError):
        await writing
    with pytest.raises(ReleasedError):
        await lane.write(0, 1, outputs(0, 1))
    assert client.closed
    assert lane.state is LaneState.RELEASED


async def test_a_fenced_lane_waits_for_its_release_before_it_claims_again() -> None:
    """A zombie does not fence the new owner as soon as it resumes."""
    partition = Partition()
    zombie = Lane("in[0]", Client(partition, faultless()), grace_s=3600.0)
    await zombie.claim()
    owner = new_lane(partition)
    await owner.claim()
    writing = asyncio.create_task(zombie.write(0, 2, outputs(0, 2)))
    while zombie.state is not LaneState.FENCED:
        await asyncio.sleep(0)
    await owner.write(0, 2, outputs(0, 2))
    await zombie.release()
    with pytest.raises(ReleasedError):
        await writing
    assert partition.outputs == [b"0", b"1"]
    assert partition.epoch == 2


async def test_an_offset_that_another_program_moved_is_an_error() -> None:
    """A chunk that is not at the committed offset is never written."""
    partition = Partition()
    lane = new_lane(partition, chain([0, 1], repeat(0)))
    await lane.claim()
    partition.committed = 7
    with pytest.raises(LaneError, match=r"in\[0\]: the group's offset is 7 where 0 or 3"):
        await lane.write(0, 3, outputs(0, 3))
    assert partition.outputs == []


async def test_a_transition_that_the_table_forbids_is_an_error() -> None:
    """A transaction is never opened twice."""
    lane = new_lane(Partition())
    await lane.claim()
    lane.state = LaneState.COMMITTING
    with pytest.raises(LaneError, match="no transition"):
        await lane.write(0, 1, outputs(0, 1))


async def test_transactions_start_at_most_once_per_interval() -> None:
    """Chunks that arrive meanwhile are committed together; the first one is not delayed."""
    partition = Partition()
    client = Client(partition, faultless())
    lane = Lane("in[0]", client, grace_s=0.0, interval_s=0.05)
    await lane.claim()
    clock = asyncio.get_running_loop().time
    commits = []

    async def commit() -> None:
        commits.append((partition.offset, clock()))
        partition.commit()

    client.commit = commit  # type: ignore[method-assign]
    start = clock()
    await lane.write(0, 1, outputs(0, 1))
    await asyncio.gather(lane.write(1, 2, outputs(1, 2)), lane.write(2, 3, outputs(2, 3)))
    assert [offset for offset, _ in commits] == [1, 3]
    assert commits[0][1] < commits[1][1]
    assert commits[1][1] - start >= 0.05


async def test_a_release_does_not_wait_for_the_interval() -> None:
    """A revoked partition is released at once."""
    lane = Lane("in[0]", Client(Partition(), faultless()), grace_s=0.0, interval_s=600.0)
    await lane.claim()
    await lane.write(0, 1, outputs(0, 1))
    waiting = asyncio.create_task(lane.write(1, 2, outputs(1, 2)))
    await asyncio.sleep(0)
    await lane.release()
    with pytest.raises(ReleasedError):
        await asyncio.wait_for(waiting, 5)
