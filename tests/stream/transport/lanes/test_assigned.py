"""Slow partitions are set aside, and come back."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from stream.transport.lanes.lane import WaitedFor
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import LaneState, ReleasedError, SlowError
from tests.stream.transport.lanes.model import (
    KEY,
    Broker,
    Client,
    Values,
    client_of,
    new_lane,
    outputs,
)

SLOW = ("in", 1)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.lanes.lane.FIRST_BACKOFF_S", 0.0)


class Down:
    """A broker that acknowledges no writes of `SLOW` until it is up again.

    Nor markers: an id with a transaction of `SLOW` gets no new epoch before.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = asyncio.Event()
        self.waiting = asyncio.Event()
        write, claim = Client.write, Client.claim
        down, blocked = self, set[str]()

        async def limited(
            client: Client,
            batches: Mapping[Key, Values],
            offsets: Mapping[Key, int],
            waited_for: WaitedFor,
        ) -> None:
            while SLOW in batches and not down.up.is_set():
                blocked.add(client.name)
                if len(batches) > 1 or waited_for({SLOW}):
                    raise SlowError({SLOW})
                down.waiting.set()
                await asyncio.sleep(0)
            await write(client, batches, offsets, waited_for)

        async def patient(client: Client, keys: Collection[Key]) -> Mapping[Key, int]:
            if client.name in blocked:
                await down.up.wait()
            return await claim(client, keys)

        monkeypatch.setattr(Client, "write", limited)
        monkeypatch.setattr(Client, "claim", patient)


async def test_a_slow_partition_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits by itself, in order, and is written with the others again when it is fast."""
    broker, down = Broker(), Down(monkeypatch)
    lanes = new_lane(broker, keys=[KEY, SLOW])
    await lanes.claim()

    def write(key: Key, n: int) -> asyncio.Task[Any]:
        return asyncio.create_task(lanes.write(key, n, n + 1, outputs(n, n + 1)))

    await write(KEY, 0)
    stuck = [write(SLOW, 0), write(KEY, 1), write(SLOW, 1)]
    await stuck[1]
    await down.waiting.wait()
    stuck.append(write(SLOW, 2))
    await asyncio.gather(*(write(KEY, n) for n in range(2, 6)))
    assert broker.committed == {KEY: 6}
    assert not any(stuck[n].done() for n in (0, 2, 3))
    assert len(lanes.all) == 2
    down.up.set()
    await asyncio.gather(*stuck)
    assert len(lanes.all) == 1
    await asyncio.gather(write(KEY, 6), write(SLOW, 3))
    assert broker.outputs[KEY] == [b"%d" % n for n in range(7)]
    assert broker.outputs[SLOW] == [b"%d" % n for n in range(4)]
    assert broker.committed == {KEY: 7, SLOW: 4}


async def test_a_release_ends_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told so, and both producers disconnect."""
    broker, down = Broker(), Down(monkeypatch)
    lanes = new_lane(broker, keys=[KEY, SLOW])
    await lanes.claim()
    await lanes.write(KEY, 0, 1, outputs(0, 1))
    writes = [
        asyncio.create_task(lanes.write(key, at, at + 1, outputs(at, at + 1)))
        for key, at in ((SLOW, 0), (KEY, 1))
    ]
    await writes[1]
    await down.waiting.wait()
    both = lanes.all
    await lanes.release([KEY, SLOW])
    with pytest.raises(ReleasedError):
        await writes[0]
    assert [lane.state for lane in both] == [LaneState.RELEASED] * 2
    assert client_of(lanes).closed
    assert broker.committed == {KEY: 2}


async def test_a_release_of_the_slow_partition_ends_its_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others are not touched."""
    broker, down = Broker(), Down(monkeypatch)
    lanes = new_lane(broker, keys=[KEY, SLOW])
    await lanes.claim()
    await lanes.write(KEY, 0, 1, outputs(0, 1))
    stuck = asyncio.create_task(lanes.write(SLOW, 0, 1, outputs(0, 1)))
    await down.waiting.wait()
    await lanes.write(KEY, 1, 2, outputs(1, 2))
    _, aside = lanes.all
    await lanes.release([SLOW])
    with pytest.raises(ReleasedError):
        await stuck
    assert aside.state is LaneState.RELEASED
    await lanes.write(KEY, 2, 3, outputs(2, 3))
    assert broker.committed == {KEY: 3}


async def test_what_cannot_be_written_is_released_before_a_rebalance() -> None:
    """Nobody waits for chunks of a lane that is expelled."""
    broker = Broker()
    lanes = new_lane(broker)
    await lanes.claim()
    await lanes.drain()
    assert lanes.all[0].claimed, "it can be written"
    broker.rebalance("another")
    writing = asyncio.create_task(lanes.write(KEY, 0, 1, outputs(0, 1)))
    while lanes.all[0].state is not LaneState.EXPELLED:
        await asyncio.sleep(0)
    await lanes.drain()
    with pytest.raises(ReleasedError):
        await writing
    assert not broker.outputs
