"""How far the processes under attack have come: what they have committed, apply and stored."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chaos.hostile.processes import Processes, metrics
from models.settings import Settings
from stream.kafka.admin import admin_request
from stream.kafka.client import bounded_consumer, client_options, topic_partitions
from stream.kafka.reader import read_topic
from stream.messages import RecordError, TrainingExample
from trainer.traffic.campaign import exact_ends


async def pending_work(
    settings: Settings, processes: Processes, version: str, revision: int, good_ids: set[str]
) -> list[str]:
    """List what the processes have not reached yet, one sentence each.

    Args:
        settings: Brokers, topics, store.
        processes: The running processes, by name.
        version: Model version that workers must serve.
        revision: Offset on the control topic that workers must apply.
        good_ids: Ids of good requests, whose examples the trainer must store.
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
        read = [topics.passed, topics.outcomes, topics.joins]
        missing += await _uncommitted(settings, f"{group}-feedback", read)
    if "trainer" in processes and not missing:
        stored = stored_clicks(settings)
        absent = [each for each in await newest_examples(settings, good_ids) if each not in stored]
        missing += [f"{len(absent)} examples not stored, such as {absent[0]}"] if absent else []
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


async def newest_examples(settings: Settings, ids: set[str]) -> dict[str, TrainingExample]:
    """The newest example on the topic of each of these requests."""
    newest: dict[str, TrainingExample] = {}
    async for record in read_topic(settings.kafka, settings.topics.examples):
        with contextlib.suppress(RecordError):
            example = TrainingExample.from_bytes(record.value)
            if example.request_id in ids:
                newest[example.request_id] = example
    return newest


def stored_clicks(settings: Settings) -> dict[str, int | None]:
    """Label of click by request id, of the newest example of each request in the store."""
    stored: dict[str, int | None] = {}
    for part in sorted(Path(settings.trainer.store).glob("part-*.parquet")):
        frame = pl.read_parquet(part, columns=["request_id", "label_click"])
        stored.update(frame.iter_rows())
    return stored
