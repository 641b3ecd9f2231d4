"""What becomes of workers when topics change under them: docs/operations.md, row by row."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics
from stream.messages import Decision, Reason, TrainingExample
from stream.transport import (
    Chunk,
    ChunkSink,
    Outgoing,
    Outputs,
    Record,
    RecordsRefusedError,
    TransactionalSink,
)
from stream.verify.account import Account, Fate, FaultKind
from stream.verify.verifier import account, committed_offsets
from tests.stream.intercept.test_worker import worker
from tests.tiny_artifact import Make
from trainer.simulation.simulator import Simulator
from trainer.traffic.campaign import known_to, run_campaign
from trainer.traffic.downstream import Downstream
from trainer.traffic.examples import batches
from trainer.traffic.publish import evenly

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

DEADLINE_S = 90.0


@pytest.fixture(params=["at-least-once", "exactly-once"])
def life(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings without a model: everything that can be read passes."""
    none = str(tmp_path / "none")
    return settings.override({"model.artifact": none, "worker.guarantee": request.param})


def rows(first: int, count: int, at_ms: int | None = None) -> list[Outgoing]:
    now_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return [
        Outgoing(b"k", b'{"id":"r%d","imp":[{}]}' % i, now_ms + i - first)
        for i in range(first, first + count)
    ]


async def send(settings: Settings, records: Sequence[Outgoing], partition: int = 0) -> None:
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.requests, partition, records)


@asynccontextmanager
async def administer(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def alter(settings: Settings, topic: str, **configuration: str) -> None:
    named = {key.replace("_", "."): value for key, value in configuration.items()}
    async with administer(settings) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=named)
        for answer in await admin.alter_configs([resource]):
            assert all(code == 0 for code, *_ in answer.resources), answer


async def until(done: Callable[[], Awaitable[bool]], child: ChildProcess | None = None) -> None:
    """Wait for a condition; with a child, its log is what is shown if that never comes true."""
    deadline = time.monotonic() + DEADLINE_S
    while not await done():
        if child is not None:
            child.check()
        if time.monotonic() > deadline:
            raise AssertionError(child.log.read_text()[-8000:] if child else "not in time")
        await asyncio.sleep(0.2)


async def exact(settings: Settings, child: ChildProcess) -> Account:
    found = Account()

    async def done() -> bool:
        nonlocal found
        found = await account(settings)
        return found.exact

    try:
        await until(done, child)
    except AssertionError as error:
        raise AssertionError(f"{found.summary()} {found.faults}\n{error}") from error
    return found


async def logged(child: ChildProcess, pattern: str) -> None:
    async def done() -> bool:
        return re.search(pattern, child.log.read_text()) is not None

    await until(done, child)


async def metric(port: int, name: str, label: str = "") -> float:
    """The sum of a metric's samples, of those with a label of this value."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = [x for x in text.splitlines() if re.match(rf"{name}(\{{|\s)", x)]
    return sum(float(line.split()[-1]) for line in lines if label in line)


async def shown(port: int, name: str, value: float) -> bool:
    return await metric(port, name) == value


async def committed(settings: Settings, partition: int = 0) -> int | None:
    tp = TopicPartition(settings.topics.requests, partition)
    return (await committed_offsets(settings, [tp])).get(partition)


async def filtered_up_to(settings: Settings, child: ChildProcess, end: int) -> None:
    async def done() -> bool:
        return await committed(settings) == end

    await until(done, child)


async def test_retention_that_passes_the_worker_is_an_error_with_its_range(
    life: Settings, tmp_path: Path
) -> None:
    """What was deleted unread is logged and counted; the rest comes out once; verify names it."""
    await send(life, rows(0, 400))
    async with worker(life, tmp_path, "first") as (child, _):
        await filtered_up_to(life, child, 400)
        await child.stop()
    await send(life, rows(400, 800))
    start = TopicPartition(life.topics.requests, 0)
    async with administer(life) as admin:
        await admin.delete_records({start: RecordsToDelete(before_offset=800)})
    async with worker(life, tmp_path, "second") as (child, port):
        await logged(child, r"offsets 400 to 799 were deleted before they were read")
        await filtered_up_to(life, child, 1200)
        assert await metric(port, "weir_records_missed_total") == 400
        child.check()
    found = await account(life)
    assert found.counts == {FaultKind.GAP: 400}
    assert found.covered[0] == (800, 1200)
    assert found.gaps == {0: (400, 800)}
    assert found.expired == 400
    assert any("offsets 400 to 799 were deleted" in remark for remark in found.remarks())


async def test_a_record_that_an_output_topic_refuses_for_its_time_is_a_dead_letter(
    life: Settings, tmp_path: Path
) -> None:
    """It stops nothing; its own time is in a header; records without one keep that."""
    topics = life.topics
    hour = {"message_timestamp_before_max_ms": "3600000"}
    await alter(life, topics.requests, message_timestamp_after_max_ms="99999999999")
    for topic in (topics.passed, topics.blocked, topics.rejected):
        await alter(life, topic, **hour, message_timestamp_after_max_ms="60000")
    now = int(time.time() * 1000)
    records = rows(0, 60)
    for at, stamp in ((0, -1), (1, -1), (7, 1000), (20, now + 80_000_000), (21, -1), (59, 1)):
        records[at] = records[at]._replace(timestamp=stamp)
    records[30] = Outgoing(b"k", b"{broken", 5)

    async def accepted() -> bool:
        """Whether the input topic's new limit is in force; until then it takes none of them."""
        try:
            await send(life, records)
        except RecordsRefusedError:
            return False
        return True

    await until(accepted)
    await send(life, rows(100, 50), 1)
    async with worker(life, tmp_path) as (child, port):
        found = await exact(life, child)
        assert await metric(port, "weir_rejects_total", 'code="refused"') == 3
    assert found.count(Fate.REJECTED) == 4
    assert found.count(Fate.PASSED) == 106
    letters = [record async for record in read_topic(life.kafka, topics.rejected)]
    times = [dict(letter.headers)["weir-timestamp"] for letter in letters]
    assert times == [b"1000", b"%d" % (now + 80_000_000), b"5", b"1"]
    assert b"message.timestamp" in (dict(letters[0].headers)["weir-message"] or b"")
    assert [dict(letter.headers)["weir-error"] for letter in letters][2] == b"invalid-json"
    passed = [r async for r in read_topic(life.kafka, topics.passed) if r.partition == 0]
    assert [r.timestamp for r in passed[:3]] == [-1, -1, records[2].timestamp]


async def test_what_only_the_broker_refuses_is_replaced_too(life: Settings) -> None:
    """The answer names the records to blame; all others are written once, exactly once in order."""
    topics, client = life.topics, client_options(life.kafka)
    names = (topics.passed, topics.rejected)
    exactly_once = life.worker.guarantee == "exactly-once"
    sink = (
        TransactionalSink(client, life.kafka.group, names, heartbeat_s=2)
        if exactly_once
        else ChunkSink(client, names)
    )
    await sink.start()
    await alter(life, topics.passed, message_timestamp_before_max_ms="3600000")  # too late to see

    async def in_force() -> bool:
        async with ChunkSink(client) as probe:
            try:
                await probe.send(topics.passed, 1, [Outgoing(None, b"probe", 5)])
            except RecordsRefusedError:
                return True
        return False

    await until(in_force)
    await sink.claim([(topics.requests, 0)])
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
    await asyncio.gather(*writes)
    await sink.stop()
    good = [r.value async for r in read_topic(life.kafka, topics.passed) if r.partition == 0]
    bad = [r.value async for r in read_topic(life.kafka, topics.rejected)]
    expected = [r.value for first in range(0, 400, 100) for r in rows(first, 99)]
    expected = [value for i, value in enumerate(expected) if i % 99 != 7]
    assert good == expected if exactly_once else sorted(good) == sorted(expected)
    assert sorted(bad) == sorted(b"bad%d" % (n + m) for n in range(0, 400, 100) for m in (0, 1))


async def test_log_append_time_on_outputs_is_said_in_words(life: Settings, tmp_path: Path) -> None:
    """The worker warns, and verify says that it could not compare timestamps: not that they lie."""
    await alter(life, life.topics.passed, message_timestamp_type="LogAppendTime")
    await send(life, rows(0, 20, at_ms=1_700_000_000_000))
    async with worker(life, tmp_path) as (child, _):
        found = await exact(life, child)
        await logged(child, r"message.timestamp.type is LogAppendTime")
    assert found.log_append_time == 20
    assert any("LogAppendTime" in remark for remark in found.remarks())


async def test_an_input_that_grows_takes_its_outputs_along(life: Settings, tmp_path: Path) -> None:
    """From 4 to 6 partitions under a running worker: all are filtered, nothing twice."""
    await send(life, rows(0, 100))
    async with worker(life, tmp_path) as (child, _):
        await exact(life, child)
        async with administer(life) as admin:
            await admin.create_partitions({life.topics.requests: NewPartitions(6)})
        await asyncio.gather(*(send(life, rows(100 * n, 100), n) for n in range(6)))
        found = await exact(life, child)
        assert f"{life.topics.passed}: now has 6 partitions" in child.log.read_text()
    assert found.requests == 700


async def test_a_missing_output_topic_is_named_and_waited_for(
    life: Settings, tmp_path: Path
) -> None:
    """Deleted under a worker: a few lines say which; once it is back, all comes out exactly."""
    async with worker(life, tmp_path) as (child, port):
        await send(life, rows(0, 50))
        await exact(life, child)
        async with administer(life) as admin:
            await admin.delete_topics([life.topics.passed])
        await send(life, rows(50, 500))
        await logged(child, rf"{life.topics.passed}: writes .* blocked .* does not exist")
        assert await metric(port, "weir_topic_waiting", life.topics.passed) == 1
        before = len(child.log.read_text().splitlines())
        await asyncio.sleep(10)
        assert len(child.log.read_text().splitlines()) - before < 15
        await ensure_topics(life.kafka, life.topics)
        await filtered_up_to(life, child, 550)
        await until(lambda: shown(port, "weir_topic_waiting", 0), child)
    found = await account(life)
    assert found.counts == {FaultKind.MISSING: 50}  # those that were deleted with the topic


async def test_a_missing_output_topic_at_the_start_is_waited_for(
    life: Settings, tmp_path: Path
) -> None:
    """Nothing is lost or doubled that came meanwhile, even if it comes back too small."""
    async with administer(life) as admin:
        await admin.delete_topics([life.topics.passed])
        await send(life, rows(0, 200), 3)
        async with worker(life, tmp_path) as (child, _):
            await logged(child, rf"{life.topics.passed}: writes have been blocked")
            await admin.create_topics([NewTopic(life.topics.passed, 1, 1)])
            found = await exact(life, child)
    assert found.count(Fate.PASSED) == 200


async def test_aborted_records_at_the_end_are_no_lag(life: Settings, tmp_path: Path) -> None:
    """Offsets that hold only aborted records and markers are committed, and count as read."""
    await send(life, rows(0, 30))
    await transact(life, rows(30, 200), commit=False)
    async with worker(life, tmp_path) as (child, port):
        await filtered_up_to(life, child, 231)
        await transact(life, rows(0, 10), commit=True)
        await transact(life, rows(0, 10), commit=False)
        await filtered_up_to(life, child, 253)

        await until(lambda: shown(port, "weir_consumer_lag", 0), child)
    found = await account(life)
    assert found.exact, found.faults
    assert found.requests == 40


async def test_aborted_records_do_not_stop_the_clock_of_the_join(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Windows close by the clock once all is read: what a transaction aborted counts as read."""
    mine = settings.override(
        {
            "feedback.time_scale": 1e6,
            "feedback.lateness_s": 1.0,
            "model.artifact": str(make_artifact()),
        }
    )
    decision = ("weir", Decision("m1", 0.5, 0.4, Reason.SCORE, 1.0, 0).to_bytes())
    passed = [row._replace(headers=[decision]) for row in rows(0, 20)]
    async with ChunkSink(client_options(mine.kafka)) as sink:
        await sink.send(mine.topics.passed, 0, passed)
    await transact(mine, rows(20, 50), commit=False, topic=mine.topics.passed)
    command, log = ["worker", "--role", "feedback"], tmp_path / "feedback.log"
    async with ChildProcess("feedback", command, log, mine.environment()) as child:

        async def labelled() -> bool:
            examples = [
                TrainingExample.from_bytes(record.value)
                async for record in read_topic(mine.kafka, mine.topics.examples)
            ]
            return len({e.request_id for e in examples if e.mature}) == 20

        await until(labelled, child)


async def transact(
    settings: Settings, records: Sequence[Outgoing], *, commit: bool, topic: str = ""
) -> None:
    producer = AIOKafkaProducer(**client_options(settings.kafka), transactional_id="upstream")
    async with producer:
        await producer.begin_transaction()
        for record in records:
            await producer.send_and_wait(
                topic or settings.topics.requests, record.value, record.key, 0, record.timestamp
            )
        await (producer.commit_transaction if commit else producer.abort_transaction)()


async def test_an_open_upstream_transaction_is_no_exact_account(life: Settings) -> None:
    """What waits behind its start is said to be there."""
    producer = AIOKafkaProducer(**client_options(life.kafka), transactional_id=life.kafka.group)
    async with producer:
        await producer.begin_transaction()
        for record in rows(0, 300):
            await producer.send(life.topics.requests, record.value, record.key, 0)
        await producer.flush()
        found = await account(life)
        assert found.counts == {FaultKind.OPEN: 300}
        assert found.faults[0].topic == life.topics.requests
        assert any("300 offsets lie behind the start" in remark for remark in found.remarks())
        await producer.abort_transaction()


async def commit(settings: Settings, offset: int) -> None:
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False
    )
    async with consumer:
        tp = TopicPartition(settings.topics.requests, 0)
        consumer.assign([tp])
        await consumer.commit({tp: offset})


async def test_an_offset_past_the_end_stops_with_a_sentence(life: Settings, tmp_path: Path) -> None:
    """It says what happened and how to set the offsets; nothing is filtered on a guess."""
    await send(life, rows(0, 10))
    await commit(life, 50)
    async with worker(life, tmp_path) as (child, _):
        assert await asyncio.wait_for(child.wait(), DEADLINE_S) != 0
    log = child.log.read_text()
    assert f"group {life.kafka.group} has committed offset 50, and the topic ends at 10" in log
    assert "weir offsets reset --to earliest" in log
    assert (await account(life)).missing == 10


@pytest.mark.parametrize("choice", ["earliest", "latest", "refuse"])
async def test_offsets_that_are_gone_are_said_and_a_setting_chooses(
    life: Settings, tmp_path: Path, choice: str
) -> None:
    """Earliest filters again, latest leaves out what waits, refuse ends; all of it in the log."""
    mine = life.override(
        {"worker.offsets_missing": choice, "kafka.group": f"{life.kafka.group}-anew"}
    )
    await send(life, rows(0, 100))
    async with worker(life, tmp_path, "first") as (child, _):
        await exact(life, child)
        assert "no committed offsets" not in child.log.read_text()
        await child.stop()
    await send(life, rows(100, 50))
    async with worker(mine, tmp_path, "second") as (child, port):
        if choice == "refuse":
            assert await asyncio.wait_for(child.wait(), DEADLINE_S) != 0
            assert "worker.offsets_missing = refuse" in child.log.read_text()
            return
        await filtered_up_to(mine, child, 150)
        await logged(child, rf"worker.offsets_missing = {choice} starts at \[0\]")
        assert await metric(port, "weir_offsets_missing_total") == 1
    found = await account(mine)
    assert found.doubled == (100 if choice == "earliest" else 0)
    assert found.missing == (50 if choice == "latest" else 0)


async def test_a_topic_made_anew_under_a_worker_is_seen_and_filtered(
    life: Settings, tmp_path: Path
) -> None:
    """Within half a minute a line says what happened; a worker that ends for it may start again."""
    topic = life.topics.requests
    await send(life, rows(0, 100))
    async with worker(life, tmp_path, "first") as (child, _), administer(life) as admin:
        await exact(life, child)
        await admin.delete_topics([topic])
        await until(lambda: created(admin, topic))
        await send(life, rows(500, 20))

        async def seen() -> bool:
            return child.returncode is not None or await committed(life) == 20

        await until(seen)
        log = child.log.read_text()
        if child.returncode is None:
            assert f"{topic}: the group has no committed offsets for partitions" in log
            await child.stop()
        else:
            assert "has committed offset 100, and the topic ends at" in log
    async with worker(life, tmp_path, "second") as (child, _):
        await filtered_up_to(life, child, 20)
    passed = [record.value async for record in read_topic(life.kafka, life.topics.passed)]
    assert sorted(passed) == sorted(row.value or b"" for row in rows(0, 100) + rows(500, 20))


async def created(admin: AIOKafkaAdminClient, topic: str) -> bool:
    answer = await admin.create_topics([NewTopic(topic, 4, 1)])
    return all(code == 0 for _, code, *_ in answer.topic_errors)


async def test_publishing_again_under_exactly_once_ends(life: Settings, tmp_path: Path) -> None:
    """The last offsets of the outputs are markers then; every passed request is answered."""
    simulator = Simulator(1)
    async with worker(life, tmp_path) as (child, _):
        await logged(
            child, rf"reading {life.topics.requests}"
        )  # a campaign gives up on workers after 10 s
        for start in (0, 300):
            downstream = Downstream(life, simulator.tasks, 1e6)
            traffic = known_to(downstream, batches(simulator, start, 300, 300))
            campaign = run_campaign(life, evenly(traffic, 3000.0), downstream, 1e6)
            summary = await asyncio.wait_for(campaign, DEADLINE_S)
            assert (summary["published"], summary["passed"]) == (300, 300)
            child.check()
