"""Facts about topics, groups and the announced model, from the brokers; and about the registry."""

import asyncio
import functools
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.artifact.registry import Registry
from models.errors import UserError
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.kafka.admin import Admin
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.connection import reach
from stream.kafka.group_watch import groups_of, lag, members
from stream.messages import ModelAnnouncement
from stream.messages.models_topic import read_history
from stream.status.facts import BrokerFacts, RegistryFacts, TopicFacts

ANSWER_S: Final = 10.0
"""Longest time that brokers or registry are waited for."""


async def ask_brokers(settings: Settings) -> BrokerFacts:
    """Facts from the brokers; if they cannot be asked, the reason."""
    try:
        return await asyncio.wait_for(_ask(settings), ANSWER_S)
    except TimeoutError:
        return BrokerFacts(error=f"no answer of {settings.kafka.bootstrap} within {ANSWER_S:g} s")
    except (KafkaError, UserError, OSError) as error:
        return BrokerFacts(error=str(error) or type(error).__name__)


async def _ask(settings: Settings) -> BrokerFacts:
    await reach(settings.kafka)  # names what is wrong with a connection
    names = [*settings.topics.model_dump().values()]
    partitions = await topic_partitions(settings.kafka, *names)
    every = [tp for tps in partitions.values() for tp in tps]
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
    await consumer.start()
    try:
        begins = await consumer.beginning_offsets(every) if every else {}
        ends = await consumer.end_offsets(every) if every else {}
    finally:
        await consumer.stop()
    lags: dict[str, dict[str, int]] = {}
    present: dict[str, int] = {}
    async with Admin(options) as admin:
        for group, topics in groups_of(settings).items():
            tps = [tp for topic in topics for tp in partitions[topic]]
            with suppress(KafkaError):  # the group does not exist yet, or may not be described
                present[group] = await admin.request(functools.partial(members, group=group))
                answer = await admin.client.list_consumer_group_offsets(group, partitions=tps)
                committed = {tp: at.offset for tp, at in answer.items() if at.offset >= 0}
                waiting = lag(committed, begins, {tp: ends[tp] for tp in tps})
                for (topic, _), records in waiting.items():
                    by_group = lags.setdefault(topic, {})
                    by_group[group] = by_group.get(group, 0) + records
    announced = await _newest_announcement(settings) if partitions[settings.topics.models] else None
    return BrokerFacts(
        topics=tuple(
            TopicFacts(name, len(tps), _records(tps, begins, ends), lags.get(name, {}))
            for name, tps in partitions.items()
        ),
        members=present,
        announced=None if announced is None else announced.version,
        announced_s=0.0 if announced is None else announced.ts / 1000,
    )


def _records(
    tps: list[TopicPartition],
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> int:
    return sum(ends[tp] - begins[tp] for tp in tps)


async def _newest_announcement(settings: Settings) -> ModelAnnouncement | None:
    """The newest announcement of a version that is to serve; canaries and shadows are not."""
    newest = (await read_history(settings)).newest(lambda _: True)
    return None if newest is None else newest.announcement


async def read_registry(settings: Settings, announced: str | None) -> RegistryFacts:
    """Facts from the registry; if it cannot be read, the reason."""
    registry = Registry(settings.model.registry)
    try:
        versions = await asyncio.wait_for(in_daemon_thread(registry.versions), ANSWER_S)
    except TimeoutError:
        return RegistryFacts(error=f"{registry.url}: no answer within {ANSWER_S:g} s")
    except Exception as error:  # noqa: BLE001 - each filesystem has exceptions of its own
        return RegistryFacts(error=f"{registry.url}: {type(error).__name__}: {error}")
    return RegistryFacts(
        versions=len(versions),
        has_announced=None if announced is None else announced in versions,
    )
