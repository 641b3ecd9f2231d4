"""Batches whose checksum is wrong: what lies before them is read, then the partition waits.

No producer can write one, for brokers check what they append: it comes from a disk or a network. A
network is right the second time, and so is another replica; so the partition asks again, ever less
often, while all others go on. Skipping is left to a person: nothing is lost in silence.

aiokafka raises from inside its iterator and drops the good batches that it had read before.
"""

from time import monotonic
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from faust.types import TP

from stream.transport.incidents import Incidents

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


class CorruptBatchError(CorruptRecordException):  # type: ignore[misc]
    """A batch that cannot be read.

    Attributes:
        partition: Where.
        offset: Offset at which the partition stands.
    """

    def __init__(self, partition: TP, offset: int) -> None:
        super().__init__(f"{partition.topic}[{partition.partition}]@{offset}: corrupt batch")
        self.partition = partition
        self.offset = offset


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's iterator over what a fetch returned; ends before a corrupt batch."""

    _given = False

    def __next__(self) -> Any:
        """The next record.

        Raises:
            CorruptBatchError: If the very first batch is corrupt.
            StopIteration: At the end, or before a corrupt batch.
        """
        try:
            record = super().__next__()
        except CorruptRecordException as error:
            if self._given:
                self._records_iterator = iter(())
                raise StopIteration from error
            at = TP(self._tp.topic, self._tp.partition)
            raise CorruptBatchError(at, self.next_fetch_offset) from error
        self._given = True
        return record


fetcher.PartitionRecords = PartitionRecords


class Held:
    """Partitions that wait at a corrupt batch, and until when.

    Args:
        incidents: Told of each.
    """

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self._until: dict[TP, tuple[float, float]] = {}  # when to ask again, and the pause

    def __contains__(self, tp: TP) -> bool:
        until = self._until.get(tp)
        return until is not None and until[0] > monotonic()

    def __bool__(self) -> bool:
        return bool(self._until)

    def hold(self, error: CorruptBatchError) -> None:
        """Leave the partition alone for a while, each time for longer."""
        tp = error.partition
        _, before_s = self._until.get(tp, (0.0, FIRST_RETRY_S / 2))
        pause_s = min(2 * before_s, LAST_RETRY_S)
        self._until[tp] = (monotonic() + pause_s, pause_s)
        self._incidents.held(tp.topic, tp.partition, error.offset, pause_s)

    def release(self, *partitions: TP) -> None:
        """They were read, or are owned no more."""
        for tp in partitions:
            if self._until.pop(tp, None) is not None:
                self._incidents.read_on(tp.topic, tp.partition)

    def clear(self) -> None:
        """Nothing is owned any more."""
        self.release(*tuple(self._until))
