"""A feedback worker that reads malformed records between passed requests."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from models.settings import Settings
from stream.kafka.client import client_options
from stream.transport import ChunkSink, Outgoing
from tests.stream.feedback.hostile import Hostile
from tests.stream.feedback.test_worker import (
    PARTITIONS,
    Reader,
    feedback_worker,
    names,
    passed,
    processed,
)

GOOD = 30
#: Hostile records; HOSTILE_RECORDS=20000 for the long version.
HOSTILE = int(os.environ.get("HOSTILE_RECORDS", "3000"))


async def send(sink: ChunkSink, topic: str, records: Iterable[Outgoing]) -> None:
    """Onto the partitions in turn."""
    by_partition: list[list[Outgoing]] = [[] for _ in range(PARTITIONS)]
    for number, record in enumerate(records):
        by_partition[number % PARTITIONS].append(record)
    for partition, part in enumerate(by_partition):
        await sink.send(topic, partition, part)


async def ended(worker: subprocess.Popen[bytes]) -> int:
    worker.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(worker.wait, 60)


@pytest.mark.broker
@pytest.mark.slow
async def test_hostile_records_end_nothing_and_hide_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    """Every good request has its one example, whatever lies around it, after a restart too."""
    topic, log = settings.topics.passed, tmp_path / "worker.log"
    now_ms = int(time.time() * 1000)
    hostile = Hostile(5, now_ms).passed()
    async with ChunkSink(client_options(settings.kafka)) as sink, Reader(settings) as reader:
        for turn in range(2):
            await send(sink, topic, itertools.islice(hostile, HOSTILE))
            numbers = range(turn * GOOD, (turn + 1) * GOOD)
            await send(sink, topic, [passed(n, now_ms + n) for n in numbers])
            with feedback_worker(settings, log) as worker:
                wanted = names((turn + 1) * GOOD)
                await reader.until(lambda ids=wanted: ids <= reader.ids(), 120 + HOSTILE // 20)
                await processed(settings, topic)
                assert worker.poll() is None
                assert await ended(worker) == 0
    assert len([e for e in reader.examples if e.request_id in wanted]) == 2 * GOOD
    text = log.read_text()
    assert "Traceback" not in text
    assert re.search(rf"{re.escape(topic)}\[\d\]@\d+: no example", text)
    assert max(map(len, text.splitlines())) < 3_000
