"""From which partitions may be fetched: the bounds on what is in the worker.

Pure bookkeeping. More is not fetched

- from a topic, while `FETCHES_READY` of its fetches wait for their agent, so that the agent never
  waits and nothing grows old in a queue in front of it;
- from a partition with `CHUNKS_IN_FLIGHT` chunks between fetch and acknowledgement, or with one
  that has been there for `IN_WORKER_S`;
- from any, while all chunks together hold more bytes than the limit.

What is not fetched waits at the broker, where another worker can take it over.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from faust.types import TP

from stream.transport.delivery import Delivery
from stream.transport.ledger import OffsetLedger

#: Per topic: fetches that wait while another one is being transformed. With chunks of 2,000 they
#: are a third of a second of work. The client asks a broker for more only when all that it has is
#: fetched from it, and that answer takes 0.1 s: with two fetches ready, a worker waited for it.
FETCHES_READY: Final = 8
#: Per partition: one chunk being transformed, one ready, the others waiting for their commit.
CHUNKS_IN_FLIGHT: Final = 8
#: Seconds from the fetch of a chunk to its acknowledgement after which its partition waits.
IN_WORKER_S: Final = 1.0
MAX_BYTES: Final = 256 * 1024 * 1024


class Room:
    """The bounds, and what counts against them.

    Args:
        ledger: The chunks in flight.
        clock: Seconds, monotonic.

    Attributes:
        max_bytes: Limit of the bytes in flight.
    """

    def __init__(self, ledger: OffsetLedger[TP], clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ready: dict[int, str] = {}  # topic of each fetch that waits, by its identity
        self.max_bytes = MAX_BYTES

    def __contains__(self, tp: TP) -> bool:
        """Whether more may be fetched from this partition."""
        ledger = self._ledger
        if ledger.in_flight(tp) >= CHUNKS_IN_FLIGHT or ledger.bytes_in_flight() >= self.max_bytes:
            return False
        if list(self._ready.values()).count(tp.topic) >= FETCHES_READY:
            return False
        oldest_s = ledger.oldest_s(tp)
        return oldest_s is None or self._clock() - oldest_s < IN_WORKER_S

    def fetched(self, deliveries: Sequence[Delivery]) -> None:
        """A fetch of one topic waits for its agent."""
        self._ready[id(deliveries)] = deliveries[0].chunk.topic

    def taken(self, deliveries: Sequence[Delivery]) -> None:
        """The agent processes that fetch now."""
        self._ready.pop(id(deliveries), None)

    def clear(self) -> None:
        """The fetches that wait will be delivered again."""
        self._ready.clear()
