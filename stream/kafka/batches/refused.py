"""A batch that cannot be read, in the place of a record; and one that may be whole elsewhere."""

from dataclasses import dataclass
from typing import Final

from aiokafka.errors import CorruptRecordException

#: So often a batch with a wrong checksum is fetched: a network is right the second time.
FETCHES: Final = 3


class CorruptBatchError(CorruptRecordException):  # type: ignore[misc]
    """A batch whose checksum is wrong: it is to be fetched again.

    Attributes:
        topic: Topic.
        partition: Partition number.
        offset: First offset that it covers, as far as it can be told.
        last_offset: Last offset that it covers, likewise.
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
    """A batch, or a part of one, that cannot be read. It has what a fetched record has.

    Attributes:
        topic: Topic.
        partition: Partition number.
        offset: First offset that it covers.
        last_offset: Last offset that it covers.
        timestamp: The newest of the batch, in ms.
        timestamp_type: 1 if the broker gave it, else 0.
        value: The bytes as they were fetched; of a single record, as they were unpacked.
        reason: Why it cannot be read, in one line.
        key: None.
        headers: None that could be read.
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
    """Batches with a wrong checksum: each is fetched `FETCHES` times, and then left out."""

    def __init__(self) -> None:
        self._fetches: dict[tuple[str, int, int], int] = {}  # by topic, partition and offset

    def met(self, error: CorruptBatchError, end: int | None) -> RefusedBatch | None:
        """Note one that was fetched; what to leave out, once it was wrong each time.

        Args:
            error: Where it is. What its header says of its end may be wrong, too.
            end: Offset behind the last record of the partition, which is not passed; None where
                that is not known.
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
