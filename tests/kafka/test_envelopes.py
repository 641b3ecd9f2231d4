"""Codecs and envelopes on Apache Kafka, with both guarantees; and what only its topics can do."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from models.settings import Settings
from stream.kafka.batches import CODECS
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.transport import ChunkSink
from stream.transport.output.output_topics import BatchLimitError
from stream.verify.account import Fate
from stream.verify.verifier import account
from tests.stream.intercept.test_worker import publish, until, value, worker
from tests.stream.intercept.test_worker import tiny_settings as any_settings  # noqa: F401
from tests.stream.intercept.test_worker_envelopes import (  # noqa: F401
    small_fetches,
    test_a_dead_letter_fits_whatever_the_record_has,
    test_all_codecs_are_read_and_written,
    test_any_envelope_is_passed_on_byte_for_byte,
    test_foreign_headers_of_weirs_own_names_are_removed,
    test_what_cannot_be_unpacked_is_one_dead_letter_and_stops_nothing,
)
from tests.stream.kafka.batches.fetched import Row, batch, row_of, send_raw
from tests.stream.transport.apps import numbered
from tests.tiny_artifact import Make

pytestmark = pytest.mark.kafka
LATEST = 2**63 - 1


@pytest.fixture(params=["at-least-once", "exactly-once"])
def tiny_settings(request: pytest.FixtureRequest, any_settings: Settings) -> Settings:  # noqa: F811
    """Settings for the tiny artifact, with each guarantee."""
    return any_settings.override({"worker.guarantee": request.param})


async def known(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    """Wait until the broker tells the topics' configurations: it learns of them a moment later."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    deadline = time.monotonic() + 60
    while True:
        answers = await admin.describe_configs(resources)
        codes = [code for answer in answers for code, *_ in answer.resources]
        if codes and not any(codes):
            return
        assert time.monotonic() < deadline, codes
        await asyncio.sleep(0.1)


async def with_topics(settings: Settings, **configs: dict[str, str]) -> Settings:
    """Settings with topics of their own that have these configurations."""
    topics = {name: f"{getattr(settings.topics, name)}-own" for name in configs}
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(topics[name], 4, 1, topic_configs=configs[name]) for name in configs]
        )
        await known(admin, list(topics.values()))
    finally:
        await admin.close()
    return settings.model_copy(update={"topics": settings.topics.model_copy(update=topics)})


@pytest.mark.parametrize("codec", CODECS)
async def test_topics_that_compress_by_themselves_are_read_and_written(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path, codec: str
) -> None:
    """`compression.type` of the input and of the outputs is the operator's choice."""
    kind = {"compression.type": "uncompressed" if codec == "none" else codec}
    settings = await with_topics(
        tiny_settings.override({"model.artifact": str(make_artifact())}),
        requests=kind, passed=kind, blocked=kind, rejected=kind,
    )  # fmt: skip
    await publish(settings, 0, 400)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 400)
        await child.stop()
    found = await account(settings)
    assert found.exact, found.summary()
    assert found.requests == 400


@pytest.mark.parametrize("codec", CODECS)
async def test_every_other_topic_is_read_whatever_packs_it(settings: Settings, codec: str) -> None:
    """Outcomes and examples: one reader reads both."""
    topics, sent = settings.topics, numbered(50)
    for topic in (topics.outcomes, topics.examples):
        async with ChunkSink(client_options(settings.kafka), compression=codec) as sink:
            await sink.send(topic, 0, sent)
        found = [record async for record in read_topic(settings.kafka, topic)]
        assert [row_of(record) for record in found] == [row_of(record) for record in sent]


async def test_the_latest_timestamps_are_passed_on_where_topics_take_them(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """From -1 to the greatest of 64 bits, in one batch and alone."""
    lax = {"message.timestamp.after.max.ms": str(LATEST)}
    settings = await with_topics(
        tiny_settings.override({"model.artifact": str(make_artifact())}),
        requests=lax, passed=lax, blocked=lax, rejected=lax,
    )  # fmt: skip
    stamps = [-1, LATEST, 0, 1_700_000_000_000, -1, LATEST]
    rows: list[Row] = [(stamp, b"k", value(i), []) for i, stamp in enumerate(stamps, 1)]
    batches = [(batch(rows), len(rows)), *((batch([row]), 1) for row in rows)]
    await send_raw(client_options(settings.kafka), settings.topics.requests, 0, batches)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 2 * len(rows))
        await child.stop()
        assert child.returncode == 0
    found = await account(settings)
    assert found.exact, found.summary()
    assert found.count(Fate.REJECTED) == 0


async def test_requests_with_the_brokers_time_are_passed_on_with_it(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Log-append time on the input is the requests' time from there on."""
    settings = await with_topics(
        tiny_settings.override({"model.artifact": str(make_artifact())}),
        requests={"message.timestamp.type": "LogAppendTime"},
    )
    await publish(settings, 0, 400)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 400)
        await child.stop()
    found = await account(settings)
    assert found.exact, found.summary()
    async for record in read_topic(settings.kafka, settings.topics.passed):
        assert row_of(record)[0] > 1_700_000_100_000


async def test_an_output_topic_that_no_dead_letter_fits_is_refused_at_the_start(
    settings: Settings,
) -> None:
    """Nothing could be cut to fit it, so one sentence says what to raise."""
    tight = {"max.message.bytes": "9000"}
    mine = await with_topics(settings, rejected=tight)
    sink = ChunkSink(client_options(mine.kafka), [mine.topics.rejected])
    wanted = r"rejected.*: its max\.message\.bytes is 9000; raise it to 16384"
    with pytest.raises(BatchLimitError, match=wanted):
        await sink.start()
