"""Counts the outcomes as they come."""

from typing import Self

from models.settings import Settings
from stream.kafka.client import bounded_consumer, topic_partitions


class OutcomeCount:
    """Counts the records of the outcomes' topic; an async context manager.

    Args:
        settings: Brokers and topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = bounded_consumer(settings.kafka)
        self._seen = 0

    async def __aenter__(self) -> Self:
        """Connect; the topic must exist."""
        await self._consumer.start()
        topic = self._settings.topics.outcomes
        partitions = (await topic_partitions(self._settings.kafka, topic))[topic]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def seen(self) -> int:
        """Number of outcomes that have come so far."""
        for records in (await self._consumer.getmany(timeout_ms=0)).values():
            self._seen += len(records)
        return self._seen
