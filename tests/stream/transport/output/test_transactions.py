"""Which partitions of a transaction are slow."""

import asyncio
from collections.abc import Collection

import pytest

from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import SlowError
from stream.transport.output import transactions


def nobody(_keys: Collection[Key]) -> bool:
    return False


A, B, C = (("in", number) for number in range(3))


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.transport.output.transactions.PATIENCE_S", 0.05)


async def test_partitions_that_others_wait_for_are_slow() -> None:
    """If some are written, and the others are not a while later."""
    stuck = asyncio.Event()
    writes = {A: asyncio.create_task(asyncio.sleep(0)), B: asyncio.create_task(stuck.wait())}
    writes[C] = asyncio.create_task(stuck.wait())
    with pytest.raises(SlowError) as caught:
        await transactions._watch(writes, nobody)
    assert caught.value.keys == {B, C}
    stuck.set()
    await asyncio.gather(*writes.values())


async def test_none_is_slow_if_all_are() -> None:
    """A broker that is slow for all of them would be so for other transactions, too."""
    stuck = asyncio.Event()
    writes = {key: asyncio.create_task(stuck.wait()) for key in (A, B)}
    watching = asyncio.create_task(transactions._watch(writes, nobody))
    done, _ = await asyncio.wait([watching], timeout=0.3)
    assert not done
    stuck.set()
    await watching


async def test_a_partition_alone_is_slow_if_others_wait_for_the_next_transaction() -> None:
    """While there is nobody who waits for it, it has all the time that it takes."""
    stuck = asyncio.Event()
    writes = {A: asyncio.create_task(stuck.wait())}
    waiting: set[Key] = set()
    watching = asyncio.create_task(
        transactions._watch(writes, lambda keys: bool(waiting - {*keys}))
    )
    done, _ = await asyncio.wait([watching], timeout=0.2)
    assert not done
    waiting.add(B)
    with pytest.raises(SlowError):
        await watching
    stuck.set()
    await writes[A]
