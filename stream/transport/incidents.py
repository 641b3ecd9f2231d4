"""Problems of topics in a running process: counted in metrics and logged with coordinates.

One object per process. The consumer and the sinks report to it; it decides nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from models.errors import UserError
from stream.kafka.batches import CorruptBatchError

logger = logging.getLogger(__name__)

#: Throttling is logged once per so many seconds of throttling.
THROTTLED_S: Final = 10.0
#: Refused outputs are logged once in this interval; all are counted.
REFUSED_LOG_S: Final = 5.0


class TopicChangedError(UserError, RuntimeError):
    """A topic was recreated or truncated, so the group's committed offsets do not apply to it."""


class OffsetsMissingError(UserError, RuntimeError):
    """The group has no committed offsets, and the settings refuse to choose where to start."""


class Incidents:
    """Metrics and log lines for problems of topics.

    Args:
        registry: Registry of the metrics; a new one by default.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._next_refused_s = -REFUSED_LOG_S
        self._omitted = 0
        registry = registry or CollectorRegistry()
        self._missed = Counter(
            "weir_records_missed",
            "Offsets that the broker deleted, or that were skipped, before they were read: the "
            "upper bound of the records lost.",
            ["topic", "partition"],
            registry=registry,
        )
        self._lost = Counter(
            "weir_offsets_missing",
            "Partitions started without a committed offset although outputs of them exist.",
            ["topic"],
            registry=registry,
        )
        self._held = Gauge(
            "weir_partition_held",
            "1 while a partition is paused at a corrupt batch.",
            ["topic", "partition"],
            registry=registry,
        )
        self._writes_blocked = Gauge(
            "weir_topic_waiting",
            "1 while writes to a topic are blocked: it is missing, or has no leader, for example.",
            ["topic"],
            registry=registry,
        )
        self._refused = Counter(
            "weir_outputs_refused",
            "Records that a topic did not accept, for example because of their timestamp.",
            ["topic"],
            registry=registry,
        )
        self._throttled = Counter(
            "weir_throttled_seconds",
            "Seconds by which quotas of the brokers delayed writes.",
            registry=registry,
        )
        self._throttled_s = 0.0
        self._blocked: set[str] = set()

    @property
    def blocked(self) -> frozenset[str]:
        """Topics and partitions that are blocked for a known, reported reason.

        A restart of the process would not help.
        """
        return frozenset(self._blocked)

    def missed(self, topic: str, partition: int, start: int, end: int) -> None:
        """The offsets [start, end) were deleted before they were read."""
        self._missed.labels(topic, str(partition)).inc(end - start)
        logger.error(
            "%s[%d]: offsets %d to %d were deleted before they were read (the topic's retention): "
            "up to %d records are lost; continuing at %d. Raise retention.ms and retention.bytes "
            "above the longest outage that must not lose records",
            topic, partition, start, end - 1, end - start, end,
        )  # fmt: skip

    def skipped(self, topic: str, partition: int, start: int, end: int) -> None:
        """The offsets [start, end) are skipped, as `offsets_missing` selects."""
        self._missed.labels(topic, str(partition)).inc(end - start)

    def offsets_missing(self, topic: str, starts: Mapping[int, int], reset: str) -> None:
        """Partitions that were filtered before have no committed offset; they start at `starts`."""
        self._lost.labels(topic).inc(len(starts))
        what = (
            "all records there are filtered again and written twice"
            if reset == "earliest"
            else "the records before that are not filtered"
        )
        logger.error(
            "%s: the group has no committed offsets for partitions %s, although output topics hold "
            "records of them (offsets expire when a group is idle for longer than the brokers' "
            "offsets.retention.minutes, or were deleted): worker.offsets_missing = %s starts at "
            "%s; %s",
            topic, sorted(starts), reset,
            ", ".join(f"[{number}]@{at}" for number, at in sorted(starts.items())), what,
        )  # fmt: skip

    def partition_paused(self, error: CorruptBatchError, retry_s: float) -> None:
        """A partition is paused at a corrupt batch."""
        self._held.labels(error.topic, str(error.partition)).set(1)
        self._blocked.add(f"{error.topic}[{error.partition}]")
        logger.error(
            "%s, so this partition is paused and the others continue; fetching it again in %.0f s. "
            "If no replica has the batch intact, skip it: stop the workers, and run `weir offsets "
            "reset --to %d --partition %d`",
            error, retry_s, error.last_offset + 1, error.partition,
        )  # fmt: skip

    def partition_resumed(self, topic: str, partition: int) -> None:
        """A paused partition continues, or was revoked."""
        self._held.remove(topic, str(partition))
        self._blocked.discard(f"{topic}[{partition}]")

    def refused(self, topic: str, partition: int, sources: Sequence[int], why: str) -> None:
        """A topic did not accept the outputs of these source offsets; they become dead letters."""
        self._refused.labels(topic).inc(len(sources))
        self._omitted += len(sources)
        now_s = self._clock()
        if now_s >= self._next_refused_s:
            self._next_refused_s = now_s + REFUSED_LOG_S
            logger.error(
                "%s[%d]: did not accept the output of source offset %d: %s: sent to the "
                "dead-letter topic instead (%d such outputs since the last such line)",
                topic, partition, sources[0], why, self._omitted,
            )  # fmt: skip
            self._omitted = 0

    def writes_blocked(self, reasons: Mapping[str, str], seconds: float) -> None:
        """Writes to topics have been blocked for some time, for these reasons."""
        for topic, why in reasons.items():
            self._writes_blocked.labels(topic).set(1)
            self._blocked.add(topic)
            logger.error("%s: writes have been blocked for %.0f s: %s", topic, seconds, why)

    def writes_resumed(self, topics: Iterable[str]) -> None:
        """Writes to these topics continue."""
        for topic in topics:
            self._writes_blocked.labels(topic).set(0)
            self._blocked.discard(topic)
            logger.info("%s: writes continue", topic)

    def throttled(self, seconds: float) -> None:
        """A quota of the brokers delayed a response."""
        self._throttled.inc(seconds)
        before, self._throttled_s = self._throttled_s, self._throttled_s + seconds
        if before == 0 or before // THROTTLED_S != self._throttled_s // THROTTLED_S:
            logger.warning(
                "a quota of the brokers delayed writes by %.1f s (%.0f s since the start): raise "
                "producer_byte_rate or request_percentage of this client",
                seconds, self._throttled_s,
            )  # fmt: skip
