"""Errors that Kafka's consumer keeps to itself until it is asked for them.

aiokafka's coordinator stops at an error that it cannot mend (no right to the group, say), and waits
for the next ``getmany()`` to raise it. An app on this transport asks its fetcher, and only for the
partitions that it owns: with none assigned nobody would ever ask.
"""

# ruff: noqa: SLF001

from typing import Any

from faust.types import AppT


def raise_client_errors(app: AppT) -> None:
    """Raise what the app's Kafka consumer met and did not tell; returns where there is nothing.

    Raises:
        KafkaError: An error that the client does not mend by itself.
    """
    client = _client(app)
    if client is None:
        return
    client._coordinator.check_errors()
    fetching = client._fetcher._fetch_task if client._fetcher is not None else None
    if fetching is not None and fetching.done() and not fetching.cancelled():
        fetching.result()


def has_coordinator(app: AppT) -> bool:
    """Whether the app's consumer knows a coordinator of its group that it can talk to."""
    client = _client(app)
    return client is None or client._coordinator.coordinator_id is not None


def _client(app: AppT) -> Any:
    """The aiokafka consumer, None before it is connected."""
    consumer = app.consumer
    client = consumer._thread._consumer if consumer._thread is not None else None
    return client if client is not None and client._coordinator is not None else None
