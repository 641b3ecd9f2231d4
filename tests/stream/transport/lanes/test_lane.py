"""How a lane handles errors, releases, expulsion, and chunks that wait."""

import asyncio
from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from stream.transport.lanes.assigned import Lanes
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import LaneError, LaneState, ReleasedError
from tests.stream.transport.lanes.model import KEY, Broker, Client, client_of, new_lane, outputs

OTHER = ("in", 1)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lanes.lane.FIRST_BACKOFF_S", 0.0)


def of(broker: Broker, *keys: Key, interval_s: float = 0.0) -> tuple[Lanes[Any], Client]:
    """Lanes of these partitions, and the producer of the first one."""
    lane = new_lane(broker, keys=keys or (KEY,), interval_s=interval_s)
    return lane, client_of(lane)


async def test_a_commit_whose_response_is_lost_is_not_repeated() -> None:
    """The committed offset shows that the transaction was committed."""
    broker = Broker()
    lane = new_lane(broker, chain([0, 0, 0, 2], repeat(0)))  # claim, produce, offset, commit
    await lane.claim()
    await lane.write(KEY, 0, 3, outputs(0, 3))
    assert broker.outputs[KEY] == [b"0", b"1", b"2"]
    assert broker.transactions["worker-0"].epoch == 2, "the outcome was found out by a second claim"


async def test_a_fatal_error_ends_the_lane() -> None:
    """A missing permission is raised, not retried."""
    broker = Broker()
    lane, client = of(broker)
    await lane.claim()

    async def refuse(_batches: Any, _offsets: Any, _waited_for: Any) -> None:
        raise TopicAuthorizationFailedError("out")

    client.write = refuse  # type: ignore[method-assign]
    with pytest.raises(TopicAuthorizationFailedError):
        await lane.write(KEY, 0, 1, outputs(0, 1))
    assert lane.all[0].state is LaneState.FAILED
    assert not broker.outputs


async def test_an_error_is_classified_by_its_cause() -> None:
    """A lost connection is retried, although aiokafka wraps it in plain errors, even twice."""
    broker = Broker()
    lane, client = of(broker)
    await lane.claim()
    fine = client.commit

    async def break_once() -> None:
        client.commit = fine  # type: ignore[method-assign]
        wrapped = KafkaError("lookup")
        wrapped.__cause__ = KafkaConnectionError("closed")
        raise KafkaError("delivery") from wrapped

    client.commit = break_once  # type: ignore[method-assign]
    await lane.write(KEY, 0, 2, outputs(0, 2))
    assert broker.outputs[KEY] == [b"0", b"1"]


async def test_chunks_that_wait_are_committed_together() -> None:
    """Of all partitions: a slow commit makes a larger transaction, not a queue of them."""
    broker = Broker()
    lane, client = of(broker, KEY, OTHER)
    await lane.claim()
    commits: list[dict[Key, int]] = []
    fine = client.commit

    async def commit() -> None:
        commits.append(dict(broker.transactions["worker-0"].offsets))
        await fine()

    client.commit = commit  # type: ignore[method-assign]
    chunks = [(key, n) for n in range(3) for key in (KEY, OTHER)]
    await asyncio.gather(*(lane.write(key, n, n + 1, outputs(n, n + 1)) for key, n in chunks))
    assert commits == [{KEY: 1}, {KEY: 3, OTHER: 3}]
    assert broker.outputs == {KEY: [b"0", b"1", b"2"], OTHER: [b"0", b"1", b"2"]}


async def test_a_release_interrupts_a_write_that_waits() -> None:
    """A write that waits for the broker raises at once when the partition is revoked."""
    lane, client = of(Broker())
    await lane.claim()
    begun = asyncio.Event()

    async def hang(_batches: Any, _offsets: Any, _waited_for: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    client.write = hang  # type: ignore[method-assign]
    writing = asyncio.create_task(lane.write(KEY, 0, 1, outputs(0, 1)))
    await begun.wait()
    await lane.release([KEY])
    with pytest.raises(ReleasedError):
        await writing
    with pytest.raises(ReleasedError):
        await lane.write(KEY, 0, 1, outputs(0, 1))
    assert client.closed
    assert lane.all[0].state is LaneState.RELEASED


async def test_a_release_of_one_partition_loses_nothing_of_the_others() -> None:
    """The transaction that has chunks of both is ended, and the other's are written again."""
    broker = Broker()
    lane, client = of(broker, KEY, OTHER)
    await lane.claim()
    begun, fine = asyncio.Event(), client.write

    async def hang(batches: Any, offsets: Mapping[Key, int], waited_for: Any) -> None:
        client.write = fine  # type: ignore[method-assign]
        await fine(batches, offsets, waited_for)
        begun.set()
        await asyncio.Event().wait()

    await lane.write(KEY, 0, 1, outputs(0, 1))
    client.write = hang  # type: ignore[method-assign]
    revoked = asyncio.create_task(lane.write(KEY, 1, 3, outputs(1, 3)))
    kept = asyncio.create_task(lane.write(OTHER, 0, 2, outputs(0, 2)))
    await begun.wait()
    await lane.release([KEY])
    with pytest.raises(ReleasedError):
        await revoked
    await kept
    assert broker.committed == {KEY: 1, OTHER: 2}
    assert broker.outputs == {KEY: [b"0"], OTHER: [b"0", b"1"]}
    with pytest.raises(ReleasedError):
        await lane.write(KEY, 1, 3, outputs(1, 3))


async def test_an_expelled_lane_waits_for_its_release() -> None:
    """The group refuses the offsets of a zombie, which then writes nothing more."""
    broker = Broker()
    zombie = new_lane(broker, name="zombie")
    await zombie.claim()
    await zombie.write(KEY, 0, 1, outputs(0, 1))
    broker.rebalance("owner")
    owner = new_lane(broker, name="owner")
    assert await owner.claim() == {KEY: 1}
    writing = asyncio.create_task(zombie.write(KEY, 1, 2, outputs(1, 2)))
    while zombie.all[0].state is not LaneState.EXPELLED:
        await asyncio.sleep(0)
    assert not zombie.all[0].claimed
    await owner.write(KEY, 1, 2, outputs(1, 2))
    await zombie.release([KEY])
    with pytest.raises(ReleasedError):
        await writing
    assert broker.outputs[KEY] == [b"0", b"1"]


async def test_a_producer_whose_transaction_was_ended_writes_it_again() -> None:
    """It timed out, or was in the way of another's claim; the group has not expelled the worker."""
    broker = Broker()
    lane, client = of(broker)
    await lane.claim()
    fine = client.commit

    async def late() -> None:
        client.commit = fine  # type: ignore[method-assign]
        broker.end("worker-0")
        await fine()

    client.commit = late  # type: ignore[method-assign]
    await lane.write(KEY, 0, 2, outputs(0, 2))
    assert broker.outputs[KEY] == [b"0", b"1"]


async def test_transactions_that_time_out_become_smaller() -> None:
    """Until they fit into the timeout; then they grow again."""
    broker = Broker()
    lane, client = of(broker, KEY, OTHER)
    await lane.claim()
    taken: list[int] = []
    fine = client.write

    async def limited(batches: Any, offsets: Mapping[Key, int], waited_for: Any) -> None:
        records = sum(len(values) for values in batches.values())
        taken.append(records)
        if records > 2:
            raise ProducerFenced
        await fine(batches, offsets, waited_for)

    client.write = limited  # type: ignore[method-assign]
    chunks = [(key, n) for n in range(8) for key in (KEY, OTHER)]
    await asyncio.gather(*(lane.write(key, n, n + 1, outputs(n, n + 1)) for key, n in chunks))
    assert taken[:5] == [1, 15, 7, 3, 1]
    assert broker.outputs == {key: [b"%d" % n for n in range(8)] for key in (KEY, OTHER)}


async def test_an_offset_that_another_program_moved_is_an_error() -> None:
    """A chunk that is not at the committed offset is never written."""
    broker = Broker()
    lane = new_lane(broker, chain([0, 1], repeat(0)))
    await lane.claim()
    broker.committed[KEY] = 7
    with pytest.raises(LaneError, match=r"in\[0\]: the group's offset is 7 where 0 or 3"):
        await lane.write(KEY, 0, 3, outputs(0, 3))
    assert not broker.outputs


async def test_a_transition_that_the_table_forbids_is_an_error() -> None:
    """A transaction is never opened twice."""
    lane = new_lane(Broker())
    await lane.claim()
    lane.all[0].state = LaneState.FAILED
    with pytest.raises(LaneError, match="no transition"):
        await lane.write(KEY, 0, 1, outputs(0, 1))


async def test_transactions_start_at_most_once_per_interval() -> None:
    """Chunks that arrive meanwhile are committed together; the first one is not delayed."""
    broker = Broker()
    lane, client = of(broker, interval_s=0.05)
    await lane.claim()
    clock = asyncio.get_running_loop().time
    commits: list[tuple[int, float]] = []
    fine = client.commit

    async def commit() -> None:
        commits.append((broker.transactions["worker-0"].offsets[KEY], clock()))
        await fine()

    client.commit = commit  # type: ignore[method-assign]
    start = clock()
    await lane.write(KEY, 0, 1, outputs(0, 1))
    await asyncio.gather(lane.write(KEY, 1, 2, outputs(1, 2)), lane.write(KEY, 2, 3, outputs(2, 3)))
    assert [offset for offset, _ in commits] == [1, 3]
    assert commits[1][1] - start >= 0.05


async def test_a_release_does_not_wait_for_the_interval() -> None:
    """A revoked partition is released at once."""
    lane, _ = of(Broker(), interval_s=600.0)
    await lane.claim()
    await lane.write(KEY, 0, 1, outputs(0, 1))
    waiting = asyncio.create_task(lane.write(KEY, 1, 2, outputs(1, 2)))
    await asyncio.sleep(0)
    await lane.close()
    with pytest.raises(ReleasedError):
        await asyncio.wait_for(waiting, 5)


async def test_a_partition_is_revoked_while_the_lane_waits_to_claim_again() -> None:
    """The pause after two failed claims is interrupted; the lane goes on with the others."""
    broker = Broker()
    lane = new_lane(broker, chain([1, 1], repeat(0)), keys=[KEY, OTHER])
    main = lane.all[0]
    claim = asyncio.create_task(lane.claim())
    while not (main.state is LaneState.UNCLAIMED and main._failures == 2):
        await asyncio.sleep(0)
    await lane.release([OTHER])
    assert await claim == {}
    await lane.write(KEY, 0, 1, outputs(0, 1))
    assert broker.committed == {KEY: 1}
