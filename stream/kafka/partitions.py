"""More partitions for all topics of requests at once, while everything runs.

A request's output goes to the partition of its own number, so outputs grow first and the requests
last: at no moment does a request lie where its output cannot go. The joins topic keeps its count,
for requests that wait there would not meet their outcomes; it need not be that of the requests.
"""

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError

from models.settings import KafkaSettings, TopicSettings
from stream.kafka.client import client_options
from stream.kafka.topics import TopicError


async def add_partitions(kafka: KafkaSettings, topics: TopicSettings, more: int) -> dict[str, int]:
    """Give the topics of requests so many partitions more than the requests have.

    One that has that many already is left as it is; so the same call finishes what another one
    could not.

    Args:
        kafka: Brokers.
        topics: Names.
        more: How many are added to ``topics.requests``.

    Returns:
        Partition count by topic, afterwards.

    Raises:
        TopicError: If a topic is missing, has more partitions already, or the brokers refuse; names
            what was done before.
    """
    names = (topics.passed, topics.blocked, topics.rejected, topics.requests)
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        counts = await _counts(admin)
        missing = [name for name in names if name not in counts]
        if missing:
            raise TopicError(f"{', '.join(missing)}: no such topic; `weir topics` creates it")
        wanted = counts[topics.requests] + more
        for name in names:
            if counts[name] < wanted:
                await _grow(admin, name, counts[name], wanted)
                counts[name] = wanted
        return {name: counts[name] for name in names}
    finally:
        await admin.close()


async def _counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["error_code"] == 0
    }


async def _grow(admin: AIOKafkaAdminClient, name: str, count: int, wanted: int) -> None:
    try:
        await admin.create_partitions({name: NewPartitions(wanted)})
    except KafkaError as error:
        raise TopicError(
            f"{name} has {count} partitions, and {wanted} cannot be had: {error}; the same command "
            "goes on from here"
        ) from error
