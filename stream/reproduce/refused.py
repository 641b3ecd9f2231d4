"""Records of the log that cannot be read: counted, and the first ones listed with the reason."""

from dataclasses import dataclass, field
from typing import Final

from aiokafka import ConsumerRecord

SHOWN: Final = 10


@dataclass(slots=True)
class RefusedRecords:
    """Records that cannot be read.

    Attributes:
        count: How many.
        shown: Coordinates and reason of the first ones.
    """

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, record: ConsumerRecord, why: object) -> None:
        """Count a record."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{record.topic}[{record.partition}]@{record.offset}: {why}")
