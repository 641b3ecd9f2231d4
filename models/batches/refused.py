"""A batch that cannot be read, in the place of a record."""

from dataclasses import dataclass


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
