"""Refused messages: a process skips them, counts them, and logs them with their coordinates.

An exception that one message causes refuses that message and never ends the process. So that many
refused messages do not flood the log, the lines of each topic are limited per minute, and the next
line reports how many were omitted. The counter counts all of them.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter

from stream.kafka.batches import RefusedBatch

logger = logging.getLogger(__name__)

LINES_PER_MINUTE: Final = 20
"""Log lines per topic and minute; enough to see every kind of fault at once."""
LONGEST_REASON: Final = 500
"""Characters of a logged reason; a message may put a text of any length into an error."""
MINUTE_S: Final = 60.0


class Coordinates(Protocol):
    """Coordinates of a message; aiokafka's records have them."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


@dataclass(slots=True)
class _Budget:
    """Log lines of one topic: start of this minute, lines so far, lines omitted."""

    since_s: float
    lines: int = 0
    omitted: int = 0


class Refusals:
    """Counts and logs the refused messages of one process.

    Args:
        registry: Registry of the counter ``weir_refused_messages_total{topic}``.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._counter = Counter(
            "weir_refused_messages",
            "Messages that were skipped because they could not be used, by topic.",
            ["topic"],
            registry=registry,
        )
        self._budgets: dict[str, _Budget] = {}

    def refuse(
        self,
        topic: str,
        partition: int,
        offset: int,
        error: Exception | str,
        consequence: str = "ignored",
    ) -> None:
        """Count and log a message that is skipped.

        Args:
            topic: Topic of the message.
            partition: Partition of the message.
            offset: Offset of the message.
            error: Fault of the message.
            consequence: Consequence for the process, such as ``the old policy stays``.
        """
        self._counter.labels(topic).inc()
        budget = self._budget(topic)
        budget.lines += 1
        if budget.lines > LINES_PER_MINUTE:
            budget.omitted += 1
            return
        logger.error("%s[%d]@%d: %s: %s", topic, partition, offset, consequence, _reason(error))

    def refuse_batch(self, batch: RefusedBatch, consequence: str = "skipped") -> None:
        """Count and log a batch that cannot be read; see :meth:`refuse`."""
        what = f"the batch up to offset {batch.last_offset} is {consequence}"
        self.refuse(batch.topic, batch.partition, batch.offset, batch.reason, what)

    @contextmanager
    def guard(self, record: Coordinates, consequence: str = "ignored") -> Iterator[None]:
        """Refuse a message whose processing raises any exception.

        Use it around the processing of one message and nothing else: changes made before the
        exception are not undone.

        Args:
            record: The message.
            consequence: See :meth:`refuse`.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no message may end a process
            self.refuse(record.topic, record.partition, record.offset, error, consequence)

    def _budget(self, topic: str) -> _Budget:
        now_s = self._clock()
        budget = self._budgets.get(topic)
        if budget is None or now_s - budget.since_s >= MINUTE_S:
            if budget is not None and budget.omitted:
                logger.error(
                    "%s: %d more messages were refused in the last %.0f s",
                    *(topic, budget.omitted, now_s - budget.since_s),
                )
            budget = self._budgets[topic] = _Budget(now_s)
        return budget


def _reason(error: Exception | str) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, Exception) and not isinstance(error, ValueError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
