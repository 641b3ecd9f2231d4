"""What workers do when topics change under them, as docs/operations.md says row by row."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from models.settings import Settings
from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics
from stream.verify.account import Fate, FaultKind
from stream.verify.verifier import account
from tests.kafka.topics import (
    administer,
    committed,
    exact,
    filtered_up_to,
    logged,
    metric,
    rows,
    send,
    shown,
    until,
)
from tests.stream.intercept.test_worker import worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


async def test_retention_that_passes_the_worker_is_an_error_with_its_range(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """What was deleted unread is logged and counted; the rest comes out once; verify names it."""
    await send(worker_settings, rows(0, 400))
    async with worker(worker_settings, tmp_path, "first") as (child, _):
        await filtered_up_to(worker_settings, child, 400)
        await child.stop()
    await send(worker_settings, rows(400, 800))
    start = TopicPartition(worker_settings.topics.requests, 0)
    async with administer(worker_settings) as admin:
        await admin.delete_records({start: RecordsToDelete(before_offset=800)})
    async with worker(worker_settings, tmp_path, "second") as (child, port):
        await logged(child, r"offsets 400 to 799 were deleted before they were read")
        await filtered_up_to(worker_settings, child, 1200)
        assert await metric(port, "weir_records_missed_total") == 400
        child.check()
    found = await account(worker_settings)
    assert found.counts == {FaultKind.GAP: 400}
    assert found.covered[0] == (800, 1200)
    assert found.gaps == {0: (400, 800)}
    assert found.expired == 400
    assert any("offsets 400 to 799 were deleted" in remark for remark in found.remarks())


async def test_an_input_that_grows_takes_its_outputs_along(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """From 4 to 6 partitions under a running worker: all are filtered, nothing twice."""
    await send(worker_settings, rows(0, 100))
    async with worker(worker_settings, tmp_path) as (child, _):
        await exact(worker_settings, child)
        async with administer(worker_settings) as admin:
            await admin.create_partitions({worker_settings.topics.requests: NewPartitions(6)})
        await asyncio.gather(*(send(worker_settings, rows(100 * n, 100), n) for n in range(6)))
        found = await exact(worker_settings, child)
        assert f"{worker_settings.topics.passed}: now has 6 partitions" in child.log.read_text()
    assert found.requests == 700


async def test_a_missing_output_topic_is_named_and_waited_for(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """Deleted under a worker: a few lines say which; once it is back, all comes out exactly."""
    async with worker(worker_settings, tmp_path) as (child, port):
        await send(worker_settings, rows(0, 50))
        await exact(worker_settings, child)
        async with administer(worker_settings) as admin:
            await admin.delete_topics([worker_settings.topics.passed])
        await send(worker_settings, rows(50, 500))
        await logged(
            child, rf"{worker_settings.topics.passed}: writes .* blocked .* does not exist"
        )
        assert await metric(port, "weir_topic_waiting", worker_settings.topics.passed) == 1
        before = len(child.log.read_text().splitlines())
        await asyncio.sleep(10)
        assert len(child.log.read_text().splitlines()) - before < 15
        await ensure_topics(worker_settings.kafka, worker_settings.topics)
        await filtered_up_to(worker_settings, child, 550)
        await until(lambda: shown(port, "weir_topic_waiting", 0), child)
    found = await account(worker_settings)
    assert found.counts == {FaultKind.MISSING: 50}  # those that were deleted with the topic


async def test_a_missing_output_topic_at_the_start_is_waited_for(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """Nothing is lost or doubled that came meanwhile, even if it comes back too small."""
    async with administer(worker_settings) as admin:
        await admin.delete_topics([worker_settings.topics.passed])
        await send(worker_settings, rows(0, 200), 3)
        async with worker(worker_settings, tmp_path) as (child, _):
            await logged(child, rf"{worker_settings.topics.passed}: writes have been blocked")
            await admin.create_topics([NewTopic(worker_settings.topics.passed, 1, 1)])
            found = await exact(worker_settings, child)
    assert found.count(Fate.PASSED) == 200


async def test_a_topic_made_anew_under_a_worker_is_seen_and_filtered(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """Within half a minute a line says what happened; a worker that ends for it may start again."""
    topic = worker_settings.topics.requests
    await send(worker_settings, rows(0, 100))
    async with (
        worker(worker_settings, tmp_path, "first") as (child, _),
        administer(worker_settings) as admin,
    ):
        await exact(worker_settings, child)
        await admin.delete_topics([topic])
        await until(lambda: created(admin, topic))
        await send(worker_settings, rows(500, 20))

        async def seen() -> bool:
            return child.returncode is not None or await committed(worker_settings) == 20

        await until(seen)
        log = child.log.read_text()
        if child.returncode is None:
            assert f"{topic}: the group has no committed offsets for partitions" in log
            await child.stop()
        else:
            assert "has committed offset 100, and the topic ends at" in log
    async with worker(worker_settings, tmp_path, "second") as (child, _):
        await filtered_up_to(worker_settings, child, 20)
    passed = [
        record.value
        async for record in read_topic(worker_settings.kafka, worker_settings.topics.passed)
    ]
    assert sorted(passed) == sorted(row.value or b"" for row in rows(0, 100) + rows(500, 20))


async def created(admin: AIOKafkaAdminClient, topic: str) -> bool:
    answer = await admin.create_topics([NewTopic(topic, 4, 1)])
    return all(code == 0 for _, code, *_ in answer.topic_errors)
