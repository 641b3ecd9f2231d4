"""How far the processes under attack have come: what they have committed, apply and stored."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chaos.hostile.processes import Processes, metrics
from chaos.hostile.values import NOW_MS
from models.bounds import MAX_SKEW_MS
from models.features import FeatureSpec
from models.settings import Settings
from stream.kafka.admin import admin_request
from stream.kafka.client import bounded_consumer, client_options, topic_partitions
from stream.kafka.reader import read_topic
from stream.messages import RecordError, TrainingExample
from trainer.store.locations import StoreError
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows
from trainer.traffic.campaign import exact_ends

MOST: Final = 1_000_000
"""More requests than any attack has."""


async def pending_work(
    settings: Settings,
    processes: Processes,
    version: str,
    revision: int,
    good_ids: set[str],
    clicked: set[str],
) -> list[str]:
    """List what the processes have not reached yet, one sentence each.

    Args:
        settings: Brokers, topics, store.
        processes: The running processes, by name.
        version: Model version that workers must serve.
        revision: Offset on the control topic that workers must apply.
        good_ids: Ids of good requests, whose examples the trainer must store.
        clicked: Ids of those whose clicks were written, which the trainer must store, too.
    """
    topics, group = settings.topics, settings.kafka.group
    missing = []
    for name, (_, port) in processes.items():
        if not name.startswith("worker"):
            continue
        figures = await asyncio.to_thread(metrics, port)
        if figures.get(("weir_model_info", version)) != 1:
            missing.append(f"{name} does not serve {version}")
        if figures.get(("weir_control_revision", "")) != revision:
            missing.append(f"{name} has not applied revision {revision} of control")
    missing += await _uncommitted(settings, group, [topics.requests])
    if "feedback" in processes:
        missing += await _uncommitted(settings, f"{group}-feedback", [topics.passed])
    if "trainer" in processes and not missing:
        made = await made_examples(settings, good_ids)
        stored = await asyncio.to_thread(stored_clicks, settings)
        absent = [each for each in made if each not in stored]
        missing += [f"{len(absent)} examples not stored, such as {absent[0]}"] if absent else []
        unlabelled = [each for each in made & clicked if stored.get(each) != 1]
        if unlabelled:
            missing.append(f"{len(unlabelled)} clicks not stored, such as {unlabelled[0]}")
    return missing


async def _uncommitted(settings: Settings, group: str, topics: Iterable[str]) -> list[str]:
    """Partitions of which the group has not committed everything."""
    kafka = settings.kafka
    found = await topic_partitions(kafka, *topics)
    partitions = [tp for each in found.values() for tp in each]

    async def question(admin: AIOKafkaAdminClient) -> dict[TopicPartition, Any]:
        offsets: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(
            group, partitions=partitions
        )
        return offsets

    committed = await admin_request(client_options(kafka), question)
    async with bounded_consumer(kafka) as consumer:
        consumer.assign(partitions)
        ends = await exact_ends(consumer, partitions)
    return [
        f"{group}: {tp.topic}[{tp.partition}] at {at} of {end}"
        for tp, end in ends.items()
        if (at := max(committed[tp].offset, 0)) < end
    ]


async def made_examples(settings: Settings, ids: set[str]) -> set[str]:
    """Which of these requests have an example on the topic, of a time that the store accepts.

    Hostile records repeat the ids of good ones at any time.
    """
    made = set()
    async for record in read_topic(settings.kafka, settings.topics.examples):
        with contextlib.suppress(RecordError):
            example = TrainingExample.from_bytes(record.value)
            if abs(example.ts - NOW_MS) <= MAX_SKEW_MS:
                made.add(example.request_id)
    return made & ids


def stored_clicks(settings: Settings) -> dict[str, int | None]:
    """Label of click by request id, as a rebuild would read it from the store now."""
    feedback, spec = settings.feedback, FeatureSpec.load("openrtb")
    windows = AttributionWindows(settings.task_set, feedback.time_scale, feedback.lateness_s)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "snapshot"
        try:
            write_snapshot(settings.trainer.store, folder, spec, windows, MOST)
        except StoreError:  # nothing was stored yet
            return {}
        frame = pl.read_parquet(folder / "*.parquet", columns=["request_id", "label_click"])
        return dict(frame.iter_rows())
