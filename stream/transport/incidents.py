"""What befalls the topics under a running process: counted, and logged with coordinates.

One object per process. The consumer and the sinks report to it; nothing here decides anything.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from models.errors import UserError
from stream.kafka.batches import CorruptBatchError

logger = logging.getLogger(__name__)

#: Throttling is logged once in so many seconds of it.
THROTTLED_S: Final = 10.0
#: Refused outputs are logged once in so many seconds; all are counted.
SELDOM_S: Final = 5.0


class TopicChangedError(UserError, RuntimeError):
    """A topic is no longer the one whose offsets the group has committed."""


class OffsetsMissingError(UserError, RuntimeError):
    """The group's offsets are gone, and the settings refuse to choose where to begin."""


class Incidents:
    """Counters and log lines for what happens to topics.

    Args:
        registry: Where the metrics are registered; one of its own where none is given.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._next_refused_s = -SELDOM_S
        self._omitted = 0
        registry = registry or CollectorRegistry()
        self._missed = Counter(
            "weir_records_missed",
            "Offsets deleted by the broker, or skipped, before they were read: at most so many "
            "records lost.",
            ["topic", "partition"],
            registry=registry,
        )
        self._lost = Counter(
            "weir_offsets_missing",
            "Partitions begun without a committed offset though outputs of theirs exist.",
            ["topic"],
            registry=registry,
        )
        self._held = Gauge(
            "weir_partition_held",
            "1 while a partition waits at a batch that is corrupt.",
            ["topic", "partition"],
            registry=registry,
        )
        self._waiting = Gauge(
            "weir_topic_waiting",
            "1 while writes to a topic wait: it is missing, has no leader, or takes nothing.",
            ["topic"],
            registry=registry,
        )
        self._refused = Counter(
            "weir_outputs_refused",
            "Records that a topic did not take, for their timestamp for instance.",
            ["topic"],
            registry=registry,
        )
        self._throttled = Counter(
            "weir_throttled_seconds",
            "Seconds for which the brokers' quotas held back what was written.",
            registry=registry,
        )
        self._throttled_s = 0.0
        self._waits: set[str] = set()

    @property
    def waits(self) -> frozenset[str]:
        """What waits for a cause that is known and told: topics, and partitions of them.

        No restart mends any of it.
        """
        return frozenset(self._waits)

    def missed(self, topic: str, partition: int, start: int, end: int) -> None:
        """The offsets [start, end) were deleted before they were read."""
        self._missed.labels(topic, str(partition)).inc(end - start)
        logger.error(
            "%s[%d]: offsets %d to %d were deleted before they were read (the topic's retention): "
            "up to %d records are lost; going on at %d. Raise retention.ms and retention.bytes "
            "above the longest outage that is to lose nothing",
            topic, partition, start, end - 1, end - start, end,
        )  # fmt: skip

    def skipped(self, topic: str, partition: int, start: int, end: int) -> None:
        """The offsets [start, end) are not read, because the settings say so."""
        self._missed.labels(topic, str(partition)).inc(end - start)

    def offsets_missing(self, topic: str, begin: Mapping[int, int], where: str) -> None:
        """The group has no offsets for partitions that were filtered before; it begins anew."""
        self._lost.labels(topic).inc(len(begin))
        what = (
            "whatever is there is filtered again and comes out twice"
            if where == "earliest"
            else "what waits before them is not filtered"
        )
        logger.error(
            "%s: the group has no committed offsets for partitions %s, though output topics hold "
            "records of them (offsets expire when a group is idle for longer than the brokers' "
            "offsets.retention.minutes, or were deleted): worker.offsets_missing = %s begins at "
            "%s; %s",
            topic, sorted(begin), where,
            ", ".join(f"[{number}]@{at}" for number, at in sorted(begin.items())), what,
        )  # fmt: skip

    def held(self, error: CorruptBatchError, retry_s: float) -> None:
        """A partition waits at a corrupt batch."""
        self._held.labels(error.topic, str(error.partition)).set(1)
        self._waits.add(f"{error.topic}[{error.partition}]")
        logger.error(
            "%s, so this partition waits and the others go on; reading it again in %.0f s. If no "
            "replica has it whole, skip it: stop the workers, and `weir offsets reset --to %d "
            "--partition %d`",
            error, retry_s, error.last_offset + 1, error.partition,
        )  # fmt: skip

    def read_on(self, topic: str, partition: int) -> None:
        """A partition that waited goes on, or went to another worker."""
        self._held.remove(topic, str(partition))
        self._waits.discard(f"{topic}[{partition}]")

    def refused(self, topic: str, partition: int, sources: Sequence[int], why: str) -> None:
        """A topic did not take the outputs of these source offsets, which are dead letters now."""
        self._refused.labels(topic).inc(len(sources))
        self._omitted += len(sources)
        now_s = self._clock()
        if now_s >= self._next_refused_s:
            self._next_refused_s = now_s + SELDOM_S
            logger.error(
                "%s[%d]: did not take the output of source offset %d: %s: to the dead-letter topic "
                "(%d so far since the last such line)",
                topic, partition, sources[0], why, self._omitted,
            )  # fmt: skip
            self._omitted = 0

    def waiting(self, reasons: Mapping[str, str], seconds: float) -> None:
        """Writes to topics have been waiting for some time, each for a reason."""
        for topic, why in reasons.items():
            self._waiting.labels(topic).set(1)
            self._waits.add(topic)
            logger.error("%s: writes have been waiting for %.0f s: %s", topic, seconds, why)

    def writing(self, topics: Iterable[str]) -> None:
        """Writes to these topics go on."""
        for topic in topics:
            self._waiting.labels(topic).set(0)
            self._waits.discard(topic)
            logger.info("%s: writes go on", topic)

    def throttled(self, seconds: float) -> None:
        """A broker held a client back, because of a quota."""
        self._throttled.inc(seconds)
        before, self._throttled_s = self._throttled_s, self._throttled_s + seconds
        if before == 0 or before // THROTTLED_S != self._throttled_s // THROTTLED_S:
            logger.warning(
                "the brokers' quota held writes back for %.1f s (%.0f s since the start): raise "
                "producer_byte_rate or request_percentage of this client",
                seconds, self._throttled_s,
            )  # fmt: skip
