"""The topics of Weir: created where they are missing, checked where they exist."""

import asyncio
import time
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from models.errors import UserError
from models.settings import KafkaSettings, TopicSettings
from stream.kafka.client import client_options, patiently

#: How long new partitions may be without a leader.
LEADER_S: Final = 30.0
#: A topic that is written every second and read whole: compacted soon, so that it stays short.
BRIEF: Final = {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}


class TopicError(UserError, RuntimeError):
    """A topic that is not there, cannot be created, or cannot serve as it is."""


async def ensure_topics(kafka: KafkaSettings, topics: TopicSettings) -> list[str]:
    """Create the topics that are missing, and add partitions to output topics that have too few.

    All have the partition count of the request topic (``kafka.partitions`` where that is created
    too): a request's verdict goes to the partition of the same number. Only what every worker
    reads in whole has one partition: ``models``, ``control`` and ``rate-state``, which are
    compacted, and ``consumption``. From three replicas on, a write needs all of them but one.

    The joins topic is never grown, for requests that wait in it would not meet their outcomes; its
    partition count need not be that of the requests.

    Returns:
        The names of those created.

    Raises:
        TopicError: If the broker refuses to create a topic, or to add partitions to one.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        existing = await _partition_counts(admin)
        count = existing.get(topics.requests, kafka.partitions)
        await _grow_outputs(admin, existing, count, topics)
        wanted = _new_topics(count, kafka.replication, topics)
        missing = [topic for topic in wanted if topic.name not in existing]
        created = await _create(admin, missing) if missing else []
        await _until_led(admin, created)
        return created
    finally:
        await admin.close()


async def _describe(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = await admin.describe_topics()
    return described


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await patiently(_describe, admin)
        if topic["error_code"] == 0
    }


async def _grow_outputs(
    admin: AIOKafkaAdminClient, existing: dict[str, int], count: int, topics: TopicSettings
) -> None:
    """Give the output topics the partitions of the requests; more than these do no harm."""
    for name in (topics.passed, topics.blocked, topics.rejected):
        found = existing.get(name, count)
        if found < count:
            try:
                await admin.create_partitions({name: NewPartitions(count)})
            except KafkaError as error:
                raise TopicError(
                    f"{name} has {found} partitions, {topics.requests} has {count}, and adding "
                    f"them failed: {error}; add them, or name another topic in the settings"
                ) from error
            await _until_led(admin, [name])


def _new_topics(count: int, replication: int, topics: TopicSettings) -> list[NewTopic]:
    names = (
        topics.requests,
        topics.passed,
        topics.blocked,
        topics.rejected,
        topics.outcomes,
        topics.joins,
        topics.examples,
    )
    kept: dict[str, str] = {}
    if replication >= 3:  # one replica may be lost without losing a record, or the right to write
        kept = {"min.insync.replicas": str(replication - 1)}
    compacted = {"cleanup.policy": "compact", **kept}
    return [
        *(NewTopic(name, count, replication, topic_configs=kept) for name in names),
        NewTopic(topics.models, 1, replication, topic_configs=compacted),
        NewTopic(topics.control, 1, replication, topic_configs=compacted),
        NewTopic(topics.rate_state, 1, replication, topic_configs=compacted | BRIEF),
        NewTopic(topics.consumption, 1, replication, topic_configs=kept),
    ]


async def _until_led(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait until every partition has a leader: before that, clients meet needless errors."""
    deadline = time.monotonic() + LEADER_S
    while True:
        topics = {topic["topic"]: topic for topic in await patiently(_describe, admin)}
        unled = [
            name
            for name in names
            if name not in topics or any(p["leader"] < 0 for p in topics[name]["partitions"])
        ]
        if not unled:
            return
        if time.monotonic() > deadline:
            raise TopicError(
                f"{', '.join(unled)}: no leader after {LEADER_S:g} s; are enough brokers up?"
            )
        await asyncio.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> list[str]:
    response = await admin.create_topics(missing)
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:  # another process was faster: as good
            reason = next(filter(None, message), None) or for_code(code).__name__
            raise TopicError(f"{name} cannot be created: {reason}")
    return created
