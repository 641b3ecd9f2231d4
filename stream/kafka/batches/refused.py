"""Batches that cannot be decoded, and corrupt ones, which another fetch may return intact."""

from dataclasses import dataclass
from typing import Final

from aiokafka.errors import CorruptRecordException

#: Number of times that a batch with a wrong checksum is fetched, because of network errors.
FETCHES: Final = 3


class CorruptBatchError(CorruptRecordException):  # type: ignore[misc]
    """A batch whose checksum is wrong; fetch it again.

    Attributes:
        topic: Topic.
        partition: Partition number.
        offset: First offset that it covers, according to its header.
        last_offset: Last offset that it covers, according to its header.
    """

    def __init__(self, topic: str, partition: int, offset: int, last_offset: int) -> None:
        super().__init__(
            f"{topic}[{partition}]@{offset}..{last_offset}: the checksum of the batch is wrong"
        )
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.last_offset = last_offset


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch, or a part of one, that cannot be decoded; it has the fields of a fetched record.

    Attributes:
        topic: Topic.
        partition: Partition number.
        offset: First offset that it covers.
        last_offset: Last offset that it covers.
        timestamp: The maximum timestamp of the batch, in ms.
        timestamp_type: 1 if it is the broker's, else 0.
        value: The bytes as fetched; those of a single record as unpacked.
        reason: Why it cannot be decoded, in one line.
        key: Always None.
        headers: Always empty.
    """

    topic: str
    partition: int
    offset: int
    last_offset: int
    timestamp: int
    timestamp_type: int
    value: bytes
    reason: str
    key: None = None
    headers: tuple[()] = ()

    def __str__(self) -> str:
        """Coordinates and reason, in one line."""
        return f"{self.topic}[{self.partition}]@{self.offset}..{self.last_offset}: {self.reason}"


class CorruptBatches:
    """Counts fetches of batches with a wrong checksum; after `FETCHES` a batch is skipped."""

    def __init__(self) -> None:
        self._fetches: dict[tuple[str, int, int], int] = {}  # by topic, partition and offset

    def count(self, error: CorruptBatchError, end: int | None) -> RefusedBatch | None:
        """Count a fetch; returns the batch to skip once its checksum was wrong every time.

        Args:
            error: Its coordinates. The last offset in its header may be wrong, too.
            end: End offset of the partition, the upper bound of what is skipped; None if unknown.
        """
        place = error.topic, error.partition, error.offset
        self._fetches[place] = self._fetches.get(place, 0) + 1
        if self._fetches[place] < FETCHES:
            return None
        del self._fetches[place]
        last = max(error.offset, error.last_offset)
        if end is not None:
            last = max(error.offset, min(last, end - 1))
        reason = "the checksum of the batch is wrong"
        return RefusedBatch(*place, last, -1, 0, b"", reason)
