"""Which version decided the requests that passed: from the headers of the pass topic."""

from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.kafka.reader import TopicReader
from stream.messages import Decision, RecordError

MAX_RUNS: Final = 1_000
"""Runs per partition that are kept, the newest; a partition begins one with each swap."""


@dataclass(slots=True)
class Run:
    """Consecutive requests of a partition that one version decided.

    Attributes:
        partition: The partition.
        version: The version; "" for requests that passed because no model served.
        first: Offset of the first one on the pass topic.
        last: Offset of the last one.
        since: Smallest timestamp of them, ms.
        until: Largest timestamp of them, ms.
        requests: Their number.
    """

    partition: int
    version: str
    first: int
    last: int
    since: int
    until: int
    requests: int = 1


@dataclass(slots=True)
class Decided:
    """Who decided the requests of the pass topic.

    Attributes:
        runs: Runs by partition, oldest first.
        unreadable: Number of records without a readable decision.
        left_out: Number of older runs that were left out.
    """

    runs: dict[int, list[Run]] = field(default_factory=dict)
    unreadable: int = 0
    left_out: int = 0

    def add(self, record: ConsumerRecord) -> None:
        """Count a record of the pass topic; those of a partition come in order."""
        try:
            version = Decision.from_headers(record.headers).model
        except RecordError:
            self.unreadable += 1
            return
        runs = self.runs.setdefault(record.partition, [])
        if runs and runs[-1].version == version:
            run = runs[-1]
            run.last, run.requests = record.offset, run.requests + 1
            run.since = min(run.since, record.timestamp)
            run.until = max(run.until, record.timestamp)
            return
        stamp = record.timestamp
        runs.append(Run(record.partition, version, record.offset, record.offset, stamp, stamp))
        if len(runs) > MAX_RUNS:
            del runs[0]
            self.left_out += 1


async def who_decided(
    settings: Settings, start_ms: int | None = None, end_ms: int | None = None
) -> Decided:
    """Read the pass topic.

    Args:
        settings: Brokers and topics.
        start_ms: Time from which on each partition is read; None for its beginning.
        end_ms: Records with this timestamp or a later one are left out; None for all.

    Raises:
        TopicError: If there is no such topic.
    """
    decided = Decided()
    async with TopicReader(settings.kafka, settings.topics.passed) as reader:
        if start_ms is not None:
            await reader.from_time(start_ms)
        async for _, records in reader.batches():
            for record in records:
                # the search by time may begin early, and timestamps need not be in order
                after = start_ms is None or start_ms <= record.timestamp
                if after and (end_ms is None or record.timestamp < end_ms):
                    decided.add(record)
    return decided
