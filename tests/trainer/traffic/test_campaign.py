"""Publisher, a worker's stand-in and the world downstream, together on a real broker."""

import asyncio
import logging
import math
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from models.settings import Settings
from models.tasks import DEFAULT_TASKS
from stream.kafka.client import client_options
from stream.messages import Outcome
from trainer.simulation.traffic import Traffic
from trainer.traffic.campaign import exact_ends, registered, run_campaign
from trainer.traffic.downstream import Downstream, FeedFaults
from trainer.traffic.publish import evenly

SCALE = 7 * 86_400.0
"""A week lasts a second."""


async def relay(settings: Settings, passing: set[str]) -> None:
    """Pass these requests and block all others, until cancelled."""
    topics, options = settings.topics, client_options(settings.kafka)
    group = {"group_id": settings.kafka.group, "enable_auto_commit": False}
    async with (
        AIOKafkaConsumer(**options, **group) as consumer,
        AIOKafkaProducer(**options) as producer,
    ):
        parts = consumer.partitions_for_topic(topics.requests) or ()
        assigned = [TopicPartition(topics.requests, number) for number in parts]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        while True:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    topic = topics.passed if record.key.decode() in passing else topics.blocked
                    await producer.send(
                        topic,
                        record.value,
                        record.key,
                        partition=record.partition,
                        timestamp_ms=record.timestamp,
                    )
            await producer.flush()
            await consumer.commit({tp: await consumer.position(tp) for tp in assigned})


async def outcomes_of(settings: Settings) -> tuple[list[Outcome], dict[str, int]]:
    """All outcomes in the order of each partition; and the time stamp of each passed request."""
    topics = settings.topics
    found: list[Outcome] = []
    stamps: dict[str, int] = {}
    async with AIOKafkaConsumer(**client_options(settings.kafka)) as consumer:
        assigned = [
            TopicPartition(topic, number)
            for topic in (topics.outcomes, topics.passed)
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        consumer.assign(assigned)
        wanted = sum((await exact_ends(consumer, assigned)).values())
        await consumer.seek_to_beginning(*assigned)
        while wanted:
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                wanted -= len(records)
                if tp.topic == topics.outcomes:
                    found += [Outcome.from_bytes(record.value) for record in records]
                else:
                    stamps |= {record.key.decode(): record.timestamp for record in records}
    return found, stamps


async def campaign(
    settings: Settings, some: Traffic, passing: set[str], faults: FeedFaults
) -> dict[str, int]:
    downstream = Downstream(settings, DEFAULT_TASKS, SCALE, faults)
    worker = asyncio.create_task(relay(settings, passing))
    try:
        source = evenly(registered(downstream, [some[:700], some[700:]]), rate=2000)
        return await run_campaign(settings, source, downstream, SCALE, len(some))
    finally:
        worker.cancel()


async def test_the_wait_for_outcomes_is_announced(
    settings: Settings, traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    """With its length, which is days unless the time is scaled, and how to shorten it."""
    caplog.set_level(logging.INFO, "trainer.traffic.campaign")
    await campaign(settings, traffic[:10], set(), FeedFaults())
    wait_s = 1.25 * max(task.window_s for task in settings.tasks) / SCALE
    (message,) = [each.getMessage() for each in caplog.records if each.name.endswith("campaign")]
    assert f"their outcomes follow for {timedelta(seconds=math.ceil(wait_s))};" in message


async def test_passed_requests_bring_just_the_outcomes_that_happen(
    settings: Settings, traffic: Traffic
) -> None:
    """Each event of a passed request comes once, at its scaled delay (1 ms at least); no others."""
    some = traffic[:1500]
    passing = set(some.ids[::2])
    clean = FeedFaults(duplicate=0, held=0, unknown=0)
    summary = await campaign(settings, some, passing, clean)
    found, stamps = await outcomes_of(settings)
    assert set(stamps) == passing
    expected = {
        (some.ids[row], DEFAULT_TASKS.names[task]): int(
            stamps[some.ids[row]] + max(some.delays_s[row, task] * 1000 / SCALE, 1.0)
        )
        for row, task in zip(*np.nonzero(some.reached), strict=True)
        if row % 2 == 0
    }
    end = max(stamps.values()) + 1000
    within = {event for event, ts in expected.items() if ts <= end}
    events = {(outcome.request_id, outcome.task): outcome.ts for outcome in found}
    assert len(events) == len(found)
    assert within <= events.keys()
    assert events.items() <= expected.items()
    assert summary["published"] == 1500
    assert summary["passed"] == 750
    assert summary["outcomes"] == len(found)
    assert summary["outcomes"] + summary["unsent"] == len(expected)


async def test_the_mess_is_counted_and_leaves_nothing_out(
    settings: Settings, traffic: Traffic
) -> None:
    """Duplicates, held and unknown outcomes come on top, in the numbers reported."""
    some = traffic[2000:3500]
    faults = FeedFaults(duplicate=0.1, held=0.1, unknown=0.1, held_s=3600, seed=5)
    summary = await campaign(settings, some, set(some.ids), faults)
    found, _ = await outcomes_of(settings)
    copies = Counter((outcome.request_id, outcome.task) for outcome in found)
    strangers = [event for event in copies if event[0] not in set(some.ids)]
    assert len(strangers) == summary["unknown"] > 50
    assert sum(count - 1 for count in copies.values()) == summary["duplicates"] > 50
    assert summary["held"] > 50
    assert summary["outcomes"] == len(found)
    quick = some.reached & (some.delays_s < 86_400)
    happened = {
        (some.ids[row], DEFAULT_TASKS.names[task])
        for row, task in zip(*np.nonzero(quick), strict=True)
    }
    assert happened <= copies.keys()
