"""Adds partitions to the request topic and its output topics while everything runs.

A request's output goes to the partition of the same number, and so does the example of a passed
one. So the topics grow against the stream, and the request topic last: at no moment is there a
request whose output partition is missing.
"""

from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError

from models.settings import KafkaSettings, TopicSettings
from stream.kafka.admin import Admin
from stream.kafka.client import client_options
from stream.kafka.topics import TopicError, partition_counts


async def add_partitions(kafka: KafkaSettings, topics: TopicSettings, more: int) -> dict[str, int]:
    """Add partitions to the request topic, and as many as it then has to its output topics.

    A topic that has that many already is left as it is, so a call that failed can be repeated.

    Args:
        kafka: Connection settings.
        topics: Names of the topics.
        more: Number of partitions to add to ``topics.requests``.

    Returns:
        The new partition count of each topic.

    Raises:
        TopicError: If a topic does not exist, or the brokers refuse.
    """
    names = (topics.examples, topics.passed, topics.blocked, topics.rejected, topics.requests)
    async with Admin(client_options(kafka)) as admin:
        counts = await partition_counts(admin)
        missing = [name for name in names if name not in counts]
        if missing:
            raise TopicError(f"{', '.join(missing)}: no such topic; `weir topics` creates it")
        wanted = counts[topics.requests] + more
        for name in names:
            if counts[name] < wanted:
                await _grow(admin, name, counts[name], wanted)
                counts[name] = wanted
        return {name: counts[name] for name in names}


async def _grow(admin: Admin, name: str, count: int, wanted: int) -> None:
    try:
        await admin.client.create_partitions({name: NewPartitions(wanted)})
    except KafkaError as error:
        raise TopicError(
            f"{name} has {count} partitions and cannot get {wanted}: {error}; the same command "
            "continues from here"
        ) from error
