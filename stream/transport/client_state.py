"""State of aiokafka's consumer that has no public interface: errors, coordinator, positions.

aiokafka's coordinator stops at an error that it cannot recover from (such as a missing right) and
keeps the error for the next ``getmany()`` to raise. This transport calls the fetcher instead, and
only for the partitions that it owns: with none assigned, the error would never be raised.

All private names of aiokafka's consumer that are only read are read here; docs/faust.md lists them.
"""

# ruff: noqa: SLF001

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import AppT


def raise_client_errors(app: AppT) -> None:
    """Raise an error that the app's Kafka consumer has met and keeps; return if there is none.

    Raises:
        KafkaError: An error that the client does not recover from by itself.
    """
    client = _client(app)
    if client is None:
        return
    client._coordinator.check_errors()
    fetching = client._fetcher._fetch_task if client._fetcher is not None else None
    if fetching is not None and fetching.done() and not fetching.cancelled():
        fetching.result()


def has_coordinator(app: AppT) -> bool:
    """Whether the app's consumer has a reachable coordinator of its group."""
    client = _client(app)
    return client is None or client._coordinator.coordinator_id is not None


def partition_state(consumer: AIOKafkaConsumer, tp: TopicPartition) -> Any:
    """Aiokafka's ``TopicPartitionState`` of a partition, None where it is not assigned."""
    assignment = consumer._subscription.subscription.assignment
    return None if assignment is None or tp not in assignment.tps else assignment.state_value(tp)


def position(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Offset of the next record to be delivered, None while it is unknown."""
    state = partition_state(consumer, tp)
    return state.position if state is not None and state.has_valid_position else None


def committed_end(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Offset after the last committed record as of the last fetch, None while it is unknown."""
    state = partition_state(consumer, tp)
    if state is None:
        return None
    highwater: int | None = state.highwater
    return highwater if state.lso is None or state.lso < 0 else state.lso


def _client(app: AppT) -> Any:
    """The app's aiokafka consumer, None before it is connected."""
    consumer = app.consumer
    client = consumer._thread._consumer if consumer._thread is not None else None
    return client if client is not None and client._coordinator is not None else None
