"""Input topics that are written in transactions: aborted records, markers, open transactions."""

import asyncio
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import Decision, Reason, TrainingExample
from stream.transport import ChunkSink
from stream.verify.account import FaultKind
from stream.verify.verifier import account
from tests.kafka.topics import (
    DEADLINE_S,
    filtered_up_to,
    logged,
    rows,
    send,
    shown,
    transact,
    until,
)
from tests.stream.intercept.test_worker import worker
from tests.tiny_artifact import Make
from trainer.simulation.simulator import Simulator
from trainer.traffic.campaign import registered, run_campaign
from trainer.traffic.downstream import Downstream
from trainer.traffic.examples import batches
from trainer.traffic.publish import evenly

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


async def test_aborted_records_at_the_end_are_no_lag(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """Offsets that hold only aborted records and markers are committed, and count as read."""
    await send(worker_settings, rows(0, 30))
    await transact(worker_settings, rows(30, 200), commit=False)
    async with worker(worker_settings, tmp_path) as (child, port):
        await filtered_up_to(worker_settings, child, 231)
        await transact(worker_settings, rows(0, 10), commit=True)
        await transact(worker_settings, rows(0, 10), commit=False)
        await filtered_up_to(worker_settings, child, 253)

        await until(lambda: shown(port, "weir_consumer_lag", 0), child)
    found = await account(worker_settings)
    assert found.exact, found.faults
    assert found.requests == 40


async def test_aborted_records_give_no_examples(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """What a transaction aborted on the pass topic is skipped, and what comes after it is read."""
    mine = settings.override({"model.artifact": str(make_artifact())})
    decision = ("weir", Decision("m1", 0.5, 0.4, Reason.SCORE, 1.0, 0).to_bytes())
    passed = [row._replace(headers=[decision]) for row in rows(0, 50)]
    topic = mine.topics.passed
    async with ChunkSink(client_options(mine.kafka)) as sink:
        await sink.send(topic, 0, passed[:10])
        await transact(mine, passed[20:], commit=False, topic=topic)
        await sink.send(topic, 0, passed[10:20])
    command, log = ["worker", "--role", "feedback"], tmp_path / "feedback.log"
    seen: set[str] = set()
    async with ChildProcess("feedback", command, log, mine.environment()) as child:

        async def all_read() -> bool:
            async for record in read_topic(mine.kafka, mine.topics.examples):
                seen.add(TrainingExample.from_bytes(record.value).request_id)
            return len(seen) >= 20

        await until(all_read, child)
    assert seen == {orjson.loads(row.value or b"")["id"] for row in passed[:20]}


async def test_an_open_upstream_transaction_is_no_exact_account(worker_settings: Settings) -> None:
    """What waits behind its start is said to be there."""
    producer = AIOKafkaProducer(
        **client_options(worker_settings.kafka), transactional_id=worker_settings.kafka.group
    )
    async with producer:
        await producer.begin_transaction()
        for record in rows(0, 300):
            await producer.send(worker_settings.topics.requests, record.value, record.key, 0)
        await producer.flush()
        found = await account(worker_settings)
        assert found.counts == {FaultKind.OPEN: 300}
        assert found.faults[0].topic == worker_settings.topics.requests
        assert any("300 offsets lie behind the start" in remark for remark in found.remarks())
        await producer.abort_transaction()


async def test_publishing_again_under_exactly_once_ends(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """The last offsets of the outputs are markers then; every passed request is answered."""
    simulator = Simulator(1)
    async with worker(worker_settings, tmp_path) as (child, _):
        await logged(
            child, rf"reading {worker_settings.topics.requests}"
        )  # a campaign gives up on workers after 10 s
        for start in (0, 300):
            downstream = Downstream(worker_settings, simulator.tasks, 1e6)
            traffic = registered(downstream, batches(simulator, start, 300, 300))
            campaign = run_campaign(worker_settings, evenly(traffic, 3000.0), downstream, 1e6)
            summary = await asyncio.wait_for(campaign, DEADLINE_S)
            assert (summary["published"], summary["passed"]) == (300, 300)
            child.check()
