"""Creates the topics that are missing, and adds partitions to output topics that have too few."""

import asyncio
import time
from typing import Final

from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from models.errors import UserError
from models.settings import KafkaSettings, TopicSettings
from stream.kafka.admin import Admin
from stream.kafka.client import client_options

#: How long new partitions may be without a leader.
LEADER_S: Final = 30.0
#: A topic that is written every second and read as a whole at each start: compacted soon.
COMPACT_SOON: Final = {"segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}

#: Partitions of ``rate-summaries``, at most: the coordinators that share the named scenarios.
SLOTS: Final = 16
#: A coordinator that takes over needs the summaries since the last state.
SUMMARIES: Final = {"cleanup.policy": "delete", "retention.ms": "600000", "segment.ms": "60000"}


class TopicError(UserError, RuntimeError):
    """A topic that does not exist, cannot be created, or is not configured as Weir needs it."""


async def ensure_topics(kafka: KafkaSettings, topics: TopicSettings) -> list[str]:
    """Create the topics that are missing, and add partitions to output topics that have too few.

    All have the partition count of the request topic (``kafka.partitions`` where that is created
    too): a request's output goes to the partition of the same number. Only the topics that every
    worker reads as a whole have one partition: ``models``, ``control`` and ``rate-state``, which
    are compacted, and ``consumption``. ``rate-summaries`` has up to `SLOTS`, and is kept for ten
    minutes. From three replicas on, a write needs all of them but one.

    Returns:
        The names of the topics that were created.

    Raises:
        TopicError: If the broker refuses to create a topic, or to add partitions to one.
    """
    async with Admin(client_options(kafka)) as admin:
        existing = await partition_counts(admin)
        count = existing.get(topics.requests, kafka.partitions)
        await _grow_outputs(admin, existing, count, topics)
        wanted = _new_topics(count, kafka.replication, topics)
        missing = [topic for topic in wanted if topic.name not in existing]
        created = await _create(admin, missing) if missing else []
        await _wait_for_leaders(admin, created)
        return created


async def partition_counts(admin: Admin) -> dict[str, int]:
    """Partition count of every topic that exists.

    Raises:
        KafkaError: If no broker answers.
    """
    return {name: len(partitions) for name, partitions in (await admin.partitions()).items()}


async def _grow_outputs(
    admin: Admin, existing: dict[str, int], count: int, topics: TopicSettings
) -> None:
    """Give each output topic as many partitions as the requests have; more of them do no harm."""
    for name in (topics.examples, topics.passed, topics.blocked, topics.rejected):
        found = existing.get(name, count)
        if found < count:
            try:
                await admin.client.create_partitions({name: NewPartitions(count)})
            except KafkaError as error:
                raise TopicError(
                    f"{name} has {found} partitions, {topics.requests} has {count}, and adding "
                    f"partitions failed: {error}; add them, or name another topic in the settings"
                ) from error
            await _wait_for_leaders(admin, [name])


def _new_topics(count: int, replication: int, topics: TopicSettings) -> list[NewTopic]:
    names = (
        topics.requests,
        topics.passed,
        topics.blocked,
        topics.rejected,
        topics.outcomes,
        topics.examples,
        topics.journal,
    )
    durable: dict[str, str] = {}
    if replication >= 3:  # with one replica lost, no record is lost and writes go on
        durable = {"min.insync.replicas": str(replication - 1)}
    compacted = {"cleanup.policy": "compact", **durable}
    return [
        *(NewTopic(name, count, replication, topic_configs=durable) for name in names),
        NewTopic(topics.models, 1, replication, topic_configs=compacted),
        NewTopic(topics.control, 1, replication, topic_configs=compacted),
        NewTopic(topics.rate_state, 1, replication, topic_configs=compacted | COMPACT_SOON),
        NewTopic(
            topics.rate_summaries,
            min(count, SLOTS),
            replication,
            topic_configs=durable | SUMMARIES,
        ),
        NewTopic(topics.consumption, 1, replication, topic_configs=durable),
    ]


async def _wait_for_leaders(admin: Admin, names: list[str]) -> None:
    """Wait until every partition has a leader, for clients fail without one."""
    deadline = time.monotonic() + LEADER_S
    while True:
        topics = await admin.partitions()
        leaderless = [
            name
            for name in names
            if name not in topics or any(partition["leader"] < 0 for partition in topics[name])
        ]
        if not leaderless:
            return
        if time.monotonic() > deadline:
            raise TopicError(
                f"{', '.join(leaderless)}: no leader after {LEADER_S:g} s; are enough brokers up?"
            )
        await asyncio.sleep(0.1)


async def _create(admin: Admin, missing: list[NewTopic]) -> list[str]:
    response = await admin.client.create_topics(missing)
    created = []
    for name, code, *message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:  # another process created it meanwhile
            reason = next(filter(None, message), None) or for_code(code).__name__
            raise TopicError(f"{name} cannot be created: {reason}")
    return created
