"""Audit of a contender's outputs, read as a downstream consumer does (read_committed)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.kafka.reader import read_topic
from stream.messages import DECISION_HEADER, DeadLetter, Decision


@dataclass(frozen=True)
class Audit:
    """The account of one round.

    Attributes:
        committed: Input records behind the group's committed offsets.
        missing: Requests among them that are on no output topic.
        doubled: Output records beyond the first for one input.
        passed: Records on the pass topic.
        blocked: Records on the block topic.
        rejected: Records on the dead-letter topic.
        digest: Hash of all outputs in their order (topic by topic, partition by partition):
            coordinates, key, value, timestamp and headers. Equal where two contenders wrote the
            very same.
    """

    committed: int
    missing: int
    doubled: int
    passed: int
    blocked: int
    rejected: int
    digest: str

    @property
    def exact(self) -> bool:
        """Whether every committed input came out, and none twice."""
        return self.missing == 0 and self.doubled == 0


async def audit(settings: Settings, committed: dict[int, int]) -> Audit:
    """Read the output topics to their ends.

    Args:
        settings: Settings with the names of the topics.
        committed: Committed offset of each input partition.
    """
    seen: dict[int, list[int]] = {number: [] for number in committed}
    counts, digests = [], []
    topics = settings.topics
    for topic in (topics.passed, topics.blocked, topics.rejected):
        hashes: dict[int, xxhash.xxh3_64] = {}
        count = 0
        async for record in read_topic(settings.kafka, topic):
            seen.setdefault(record.partition, []).append(_source(record))
            _take(hashes.setdefault(record.partition, xxhash.xxh3_64()), record)
            count += 1
        counts.append(count)
        digests += [f"{number}:{hashes[number].hexdigest()}" for number in sorted(hashes)]
    missing = doubled = 0
    for number, offsets in seen.items():
        offsets_N: npt.NDArray[np.int64] = np.array(offsets, np.int64)
        unique_M = np.unique(offsets_N)
        doubled += len(offsets_N) - len(unique_M)
        upto = committed.get(number, 0)
        missing += upto - int(np.count_nonzero(unique_M < upto))
    passed, blocked, rejected = counts
    return Audit(
        committed=sum(committed.values()),
        missing=missing,
        doubled=doubled,
        passed=passed,
        blocked=blocked,
        rejected=rejected,
        digest=" ".join(digests),
    )


def _source(record: ConsumerRecord) -> int:
    if any(name == DECISION_HEADER for name, _ in record.headers):
        return Decision.from_headers(record.headers).offset
    return DeadLetter.from_headers(record.headers).offset


def _take(digest: xxhash.xxh3_64, record: ConsumerRecord) -> None:
    content = (record.timestamp, record.key, record.value, tuple(record.headers))
    digest.update(repr(content).encode())
