"""Batches whose checksum is wrong: what lies before them is read, then the partition waits.

No producer can write one, for brokers check what they append: it comes from a disk or a network. A
network is right the second time, and so is another replica; so the partition asks again, ever less
often, while all others go on. Skipping is left to a person: nothing is lost in silence.
"""

from time import monotonic
from typing import Final

from faust.types import TP

from stream.kafka.batches import CorruptBatchError
from stream.transport.incidents import Incidents

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


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
        tp = TP(error.topic, error.partition)
        _, before_s = self._until.get(tp, (0.0, FIRST_RETRY_S / 2))
        pause_s = min(2 * before_s, LAST_RETRY_S)
        self._until[tp] = (monotonic() + pause_s, pause_s)
        self._incidents.held(error, pause_s)

    def release(self, *partitions: TP) -> None:
        """They were read, or are owned no more."""
        for tp in partitions:
            if self._until.pop(tp, None) is not None:
                self._incidents.read_on(tp.topic, tp.partition)

    def clear(self) -> None:
        """Nothing is owned any more."""
        self.release(*tuple(self._until))
