"""Partition counts of the join's topics, which must fit each other."""

from models.settings import Settings
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.rights import changelog
from stream.kafka.topics import TopicError
from stream.transport import OutputTopics


async def joins_partitions(settings: Settings) -> int:
    """Number of partitions of the joins topic, which overrides ``kafka.partitions``.

    The state of a partition is in the changelog partition of the same number, and requests are
    partitioned by the hash of their id: neither topic may grow while requests are pending. Examples
    are written to the partition number of their join, so their topic is grown if it is too small.

    Raises:
        TopicError: If the joins topic is missing, or has another count than its state.
        PartitionsError: If the examples' topic is too small and cannot be grown.
    """
    topics, state = settings.topics, changelog(settings)
    found = await topic_partitions(settings.kafka, topics.joins, state)
    count, kept = len(found[topics.joins]), len(found[state])
    if not count:
        raise TopicError(f"{topics.joins}: no such topic; `weir topics` creates it")
    if kept and kept != count:
        raise TopicError(
            f"{topics.joins} has {count} partitions and its state, {state}, has {kept}: pending "
            "requests would be in other partitions than their outcomes. Recreate "
            f"{topics.joins} with {kept} partitions, or start with another kafka.group (requests "
            "that are pending now are then never labelled)"
        )
    examples = OutputTopics(client_options(settings.kafka), (topics.examples,))
    await examples.fit([(topics.joins, count - 1)])
    return count
