"""What workers do with timestamps that an output topic refuses or replaces."""

import asyncio
import time
from pathlib import Path

import pytest

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.transport import (
    Chunk,
    ChunkSink,
    Outgoing,
    Outputs,
    Record,
    RecordsRefusedError,
    TransactionalSink,
)
from stream.verify.account import Fate
from tests.kafka.members import member
from tests.kafka.topics import alter, exact, logged, metric, rows, send, until
from tests.stream.intercept.test_worker import worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


async def test_a_record_that_an_output_topic_refuses_for_its_time_is_a_dead_letter(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """It stops nothing; its own time is in a header; records without one keep that."""
    topics = worker_settings.topics
    hour = {"message_timestamp_before_max_ms": "3600000"}
    await alter(worker_settings, topics.requests, message_timestamp_after_max_ms="99999999999")
    for topic in (topics.passed, topics.blocked, topics.rejected):
        await alter(worker_settings, topic, **hour, message_timestamp_after_max_ms="60000")
    now = int(time.time() * 1000)
    records = rows(0, 60)
    for at, stamp in ((0, -1), (1, -1), (7, 1000), (20, now + 80_000_000), (21, -1), (59, 1)):
        records[at] = records[at]._replace(timestamp=stamp)
    records[30] = Outgoing(b"k", b"{broken", 5)

    async def accepted() -> bool:
        """Whether the input topic's new limit is in force; until then it takes none of them."""
        try:
            await send(worker_settings, records)
        except RecordsRefusedError:
            return False
        return True

    await until(accepted)
    await send(worker_settings, rows(100, 50), 1)
    async with worker(worker_settings, tmp_path) as (child, port):
        found = await exact(worker_settings, child)
        assert await metric(port, "weir_rejects_total", 'code="refused"') == 3
    assert found.count(Fate.REJECTED) == 4
    assert found.count(Fate.PASSED) == 106
    letters = [record async for record in read_topic(worker_settings.kafka, topics.rejected)]
    times = [dict(letter.headers)["weir-timestamp"] for letter in letters]
    assert times == [b"1000", b"%d" % (now + 80_000_000), b"5", b"1"]
    assert b"message.timestamp" in (dict(letters[0].headers)["weir-message"] or b"")
    assert [dict(letter.headers)["weir-error"] for letter in letters][2] == b"invalid-json"
    passed = [r async for r in read_topic(worker_settings.kafka, topics.passed) if r.partition == 0]
    assert [r.timestamp for r in passed[:3]] == [-1, -1, records[2].timestamp]


async def test_what_only_the_broker_refuses_is_replaced_too(worker_settings: Settings) -> None:
    """The answer names the records to blame; all others are written once, exactly once in order."""
    topics, client = worker_settings.topics, client_options(worker_settings.kafka)
    names = (topics.passed, topics.rejected)
    exactly_once = worker_settings.worker.guarantee == "exactly-once"
    sink = (
        TransactionalSink(client, worker_settings.kafka.group, names, heartbeat_s=2)
        if exactly_once
        else ChunkSink(client, names)
    )
    await sink.start()
    await alter(
        worker_settings, topics.passed, message_timestamp_before_max_ms="3600000"
    )  # too late to see

    async def in_force() -> bool:
        async with ChunkSink(client) as probe:
            try:
                await probe.send(topics.passed, 1, [Outgoing(None, b"probe", 5)])
            except RecordsRefusedError:
                return True
        return False

    await until(in_force)
    now = int(time.time() * 1000)

    def instead(outputs: Outputs, error: RecordsRefusedError) -> Outputs:
        assert error.topic == topics.passed
        bad = [outputs[topics.passed][index] for index in error.indices]
        good = [row for row in outputs[topics.passed] if row not in bad]
        letters = [Outgoing(row.key, row.value, now) for row in bad]
        return {topics.passed: good, topics.rejected: [*outputs[topics.rejected], *letters]}

    writes = []
    for first in range(0, 400, 100):
        records: list[Record] = list(rows(first, 100))
        records[7] = Outgoing(None, b"bad%d" % first, 5)
        records[99] = Outgoing(None, b"bad%d" % (first + 1), 6)
        chunk = Chunk(topics.requests, 0, [], first, first + 100, 0, 0.0)
        outputs = {topics.passed: records, topics.rejected: []}
        writes.append(sink.write(chunk, outputs, instead))
    async with member(client, worker_settings.kafka.group, topics.requests) as owner:
        await sink.claim([(topics.requests, 0)], owner)
        await asyncio.gather(*writes)
        await sink.stop()
    good = [
        r.value async for r in read_topic(worker_settings.kafka, topics.passed) if r.partition == 0
    ]
    bad = [r.value async for r in read_topic(worker_settings.kafka, topics.rejected)]
    expected = [r.value for first in range(0, 400, 100) for r in rows(first, 99)]
    expected = [value for i, value in enumerate(expected) if i % 99 != 7]
    assert good == expected if exactly_once else sorted(good) == sorted(expected)
    assert sorted(bad) == sorted(b"bad%d" % (n + m) for n in range(0, 400, 100) for m in (0, 1))


async def test_log_append_time_on_outputs_is_said_in_words(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """The worker warns, and verify says that it could not compare timestamps: not that they lie."""
    await alter(
        worker_settings, worker_settings.topics.passed, message_timestamp_type="LogAppendTime"
    )
    await send(worker_settings, rows(0, 20, at_ms=1_700_000_000_000))
    async with worker(worker_settings, tmp_path) as (child, _):
        found = await exact(worker_settings, child)
        await logged(child, r"message.timestamp.type is LogAppendTime")
    assert found.log_append_time == 20
    assert any("LogAppendTime" in remark for remark in found.remarks())
