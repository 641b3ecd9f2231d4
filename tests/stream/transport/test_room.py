"""What is in the worker is bounded: chunks, bytes, time, and fetches that wait for their agent."""

from collections.abc import Callable

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from stream.transport.chunk import Chunk
from stream.transport.delivery import Delivery
from stream.transport.ledger import OffsetLedger
from stream.transport.room import CHUNKS_IN_FLIGHT, FETCHES_READY, IN_WORKER_S, Room

A, B, C = (TP("requests", number) for number in range(3))
OTHER = TP("outcomes", 0)


class Fetched:
    """A room with a clock that moves only when it is told to, and fetches of it."""

    def __init__(self, *partitions: TP) -> None:
        self.now_s = 50.0
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        for tp in partitions or (A, B, C, OTHER):
            self.ledger.reset(tp, 0)
        self.room = Room(self.ledger, lambda: self.now_s)
        self.ends: dict[TP, int] = {}

    def fetch(self, *partitions: TP, size: int = 1) -> list[Delivery]:
        """A fetch with a chunk of each of these partitions."""
        deliveries = []
        for tp in partitions:
            start = self.ends.get(tp, 0)
            self.ends[tp] = start + 1
            chunk = Chunk(tp.topic, tp.partition, (), start, start + 1, size, self.now_s)
            ticket = self.ledger.open(tp, start, start + 1, size, self.now_s)
            deliveries.append(Delivery(chunk, ticket))
        self.room.fetched(deliveries)
        return deliveries


def test_a_topic_waits_while_its_fetches_wait_for_the_agent() -> None:
    """However many chunks they have; other topics do not wait."""
    fetched = Fetched()
    for _ in range(FETCHES_READY):
        assert C in fetched.room
        fetched.fetch(A, B)
    assert C not in fetched.room
    assert OTHER in fetched.room
    fetched.room.clear()  # they will be delivered again
    assert C in fetched.room


def test_there_is_room_again_when_the_agent_takes_a_fetch() -> None:
    """For one more."""
    fetched = Fetched()
    fetches = [fetched.fetch(A) for _ in range(FETCHES_READY - 1)]
    fetches.append(fetched.fetch(B))
    assert B not in fetched.room
    fetched.room.taken(fetches[0])
    assert B in fetched.room
    fetched.fetch(B)
    assert B not in fetched.room


def test_a_partition_waits_for_a_chunk_that_has_been_here_for_long() -> None:
    """Until it is acknowledged; the age is that of the oldest."""
    fetched = Fetched()
    old = fetched.fetch(A)
    fetched.room.taken(old)
    fetched.now_s += IN_WORKER_S / 2
    fetched.room.taken(fetched.fetch(A))
    assert A in fetched.room
    fetched.now_s += IN_WORKER_S / 2
    assert A not in fetched.room
    assert B in fetched.room
    fetched.ledger.ack(old[0].ticket)
    assert A in fetched.room


def test_chunks_and_bytes_are_bounded() -> None:
    """Chunks for each partition, bytes over all."""
    fetched = Fetched()
    fetched.room.max_bytes = 1000
    for _ in range(CHUNKS_IN_FLIGHT):
        fetched.room.taken(fetched.fetch(A))
    assert A not in fetched.room
    assert B in fetched.room
    fetched.room.taken(fetched.fetch(B, size=1000))
    assert OTHER not in fetched.room


@given(st.lists(st.sampled_from(["fetch", "take", "ack", "wait"]), max_size=60))
def test_a_worker_that_fetches_only_where_there_is_room_keeps_the_bounds(steps: list[str]) -> None:
    """Whatever happens in which order; and once all is acknowledged, there is room again."""
    fetched = Fetched(A)
    ready: list[list[Delivery]] = []
    taken: list[Delivery] = []

    def take() -> None:
        fetched.room.taken(ready[0])
        taken.extend(ready.pop(0))

    def ack() -> None:
        fetched.ledger.ack(taken.pop(0).ticket)

    actions: dict[str, Callable[[], None]] = {"take": take, "ack": ack}
    for step in steps:
        if step == "fetch" and A in fetched.room:
            oldest_s = fetched.ledger.oldest_s(A)
            assert oldest_s is None or fetched.now_s - oldest_s < IN_WORKER_S
            ready.append(fetched.fetch(A))
        elif step == "wait":
            fetched.now_s += 0.3
        elif (step == "take" and ready) or (step == "ack" and taken):
            actions[step]()
        assert len(ready) <= FETCHES_READY
        assert fetched.ledger.in_flight(A) <= CHUNKS_IN_FLIGHT
    while ready:
        take()
    while taken:
        ack()
    assert A in fetched.room
    assert fetched.ledger.oldest_s(A) is None


def test_a_partition_that_is_not_owned_has_no_oldest_chunk() -> None:
    """It is asked for between a revocation and the next assignment."""
    ledger: OffsetLedger[TP] = OffsetLedger()
    assert ledger.oldest_s(A) is None
    with pytest.raises(Exception, match="not owned"):
        ledger.open(A, 0, 1)
