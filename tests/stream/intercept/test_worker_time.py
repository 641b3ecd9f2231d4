"""Workers under a capacity with timestamps as producers write them."""

import time
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest

from models.settings import Settings
from stream.kafka.client import client_options
from stream.transport import ChunkSink, Outgoing
from tests.stream.control.workers import blocked_share, tiny, until, worker

__all__ = ["tiny"]

pytestmark = pytest.mark.broker
DAY_MS = 86_400_000


async def publish_stamped(settings: Settings, partition: int, stamps: Iterable[int]) -> None:
    rows = []
    for number, stamp in enumerate(stamps):
        name = f"p{partition}-r{number}"
        body = orjson.dumps({"id": name, "imp": [{}], "site": {"id": f"s{number % 41}"}})
        rows.append(Outgoing(name.encode(), body, stamp, ()))
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.requests, partition, rows)


async def test_a_backlog_on_two_partitions_passes_where_there_is_room(
    tiny: Settings, tmp_path: Path
) -> None:
    """Read one partition after the other, 50 requests a second all pass a capacity of 100."""
    mine = tiny.override({"policy.capacity": 100.0})
    begin = time.time_ns() // 1_000_000 - 3_600_000
    for partition in (0, 1):
        await publish_stamped(mine, partition, range(begin, begin + 8_000, 40))
    async with worker(mine, tmp_path, "worker") as (child, port):
        await until(child, port, lambda sample: sample.requests == 400)
    assert await blocked_share(mine, 0) == 0.0


@pytest.mark.parametrize("wrong", [DAY_MS, -DAY_MS, "us"])
async def test_one_wrong_stamp_does_not_jam_a_capacity(
    tiny: Settings, tmp_path: Path, wrong: int | str
) -> None:
    """Of 100 requests a second half pass a capacity of 50, after a stamp a day off, or in us."""
    mine = tiny.override({"policy.capacity": 50.0})
    begin = time.time_ns() // 1_000_000 - 3_600_000
    stamps = list(range(begin, begin + 12_000, 10))
    if isinstance(wrong, int):
        stamps[5] += wrong
    else:
        stamps = [1000 * stamp for stamp in stamps]
    await publish_stamped(mine, 0, stamps)
    async with worker(mine, tmp_path, "worker") as (child, port):
        await until(child, port, lambda sample: sample.requests == 1200)
    assert await blocked_share(mine, 0) == pytest.approx(0.5, abs=0.02)
