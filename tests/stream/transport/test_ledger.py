"""The ledger commits the longest acknowledged prefix, whatever the order of events."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from stream.transport.ledger import LedgerError, OffsetLedger, Ticket

PARTITIONS = ("a", "b")


class LedgerMachine(RuleBasedStateMachine):
    """The ledger against a model that keeps one flag per offset.

    Model: per partition the offset it started from, and a list with one acknowledged flag per
    offset since. What may be committed is the first offset whose flag is False.
    """

    tickets: Bundle[tuple[int, Ticket[str]]] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.ledger: OffsetLedger[str] = OffsetLedger()
        self.starts: dict[str, int] = {}
        self.flags: dict[str, list[bool]] = {}
        self.stored: dict[str, int] = {}  # what the broker has: survives revocation
        self.lives: dict[str, int] = dict.fromkeys(PARTITIONS, 0)

    def prefix(self, partition: str) -> int:
        """The first offset that is not acknowledged."""
        flags = self.flags[partition]
        return self.starts[partition] + (flags.index(False) if False in flags else len(flags))

    @rule(partition=st.sampled_from(PARTITIONS))
    def assign(self, partition: str) -> None:
        """A partition is assigned, or sought, at what was committed."""
        position = self.stored.setdefault(partition, 0)
        self.ledger.reset(partition, position)
        self.starts[partition] = position
        self.flags[partition] = []
        self.lives[partition] += 1

    @rule(partition=st.sampled_from(PARTITIONS))
    def revoke(self, partition: str) -> None:
        """Another consumer owns it from now on."""
        self.ledger.revoke([partition])
        self.flags.pop(partition, None)
        self.lives[partition] += 1

    @rule(target=tickets, partition=st.sampled_from(PARTITIONS), length=st.integers(1, 4))
    def fetch(self, partition: str, length: int) -> Any:
        """The next chunk is opened."""
        if partition not in self.flags:
            with pytest.raises(LedgerError, match="not owned"):
                self.ledger.open(partition, 0, length)
            return multiple()
        start = self.starts[partition] + len(self.flags[partition])
        ticket = self.ledger.open(partition, start, start + length)
        self.flags[partition] += [False] * length
        return self.lives[partition], ticket

    @rule(partition=st.sampled_from(PARTITIONS), shift=st.sampled_from([-2, -1, 1, 2]))
    def fetch_elsewhere(self, partition: str, shift: int) -> None:
        """Going back or leaving a hole is refused and changes nothing."""
        if partition in self.flags:
            start = self.starts[partition] + len(self.flags[partition]) + shift
            with pytest.raises(LedgerError, match="backwards" if shift < 0 else "skips"):
                self.ledger.open(partition, start, start + 3)

    @rule(held=consumes(tickets))
    def ack(self, held: tuple[int, Ticket[str]]) -> None:
        """A chunk of any age is acknowledged, in any order."""
        life, ticket = held
        alive = self.lives[ticket.partition] == life
        assert self.ledger.ack(ticket) is alive
        if alive:
            base = self.starts[ticket.partition]
            for offset in range(ticket.start, ticket.end):
                self.flags[ticket.partition][offset - base] = True

    @rule(partition=st.sampled_from(PARTITIONS))
    def commit(self, partition: str) -> None:
        """What can be committed is."""
        offset = self.ledger.committable(partition)
        if offset is not None:
            self.ledger.committed(partition, offset)
            self.stored[partition] = offset
            assert self.ledger.committable(partition) is None

    @invariant()
    def commits_the_acknowledged_prefix(self) -> None:
        """Never more than the acknowledged prefix, never less."""
        for partition in self.flags:
            expected = self.prefix(partition)
            assert self.ledger.done(partition) == expected
            new = expected if expected > self.stored[partition] else None
            assert self.ledger.committable(partition) == new


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=100, stateful_step_count=40)


def test_gaps_are_covered_by_the_chunk_around_them() -> None:
    """Offsets without a record inside or behind a chunk are committed with it."""
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.reset("a", 10)
    ledger.ack(ledger.open("a", 10, 50))
    assert ledger.committable("a") == 50


def test_an_unknown_position_is_taken_from_the_first_chunk() -> None:
    """Where nothing was committed, the first chunk says where the partition starts."""
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.reset("a", None)
    assert ledger.done("a") is None
    ticket = ledger.open("a", 7, 9)
    assert ledger.committable("a") is None
    ledger.ack(ticket)
    assert ledger.committable("a") == 9


def test_in_flight_counts_what_waits_behind_an_unacknowledged_chunk() -> None:
    """An acknowledged chunk behind an unacknowledged one still takes a place in flight."""
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.reset("a", 0)
    first, second = ledger.open("a", 0, 5), ledger.open("a", 5, 9)
    ledger.ack(second)
    assert ledger.in_flight("a") == 2
    ledger.ack(first)
    assert ledger.in_flight("a") == 0


def test_refuses_commits_that_cannot_be() -> None:
    """A commit that goes backwards, or beyond what was acknowledged, is a bug and raises."""
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.reset("a", 5)
    ledger.ack(ledger.open("a", 5, 8))
    with pytest.raises(LedgerError, match="9 committed, 8 acknowledged"):
        ledger.committed("a", 9)
    ledger.committed("a", 8)
    with pytest.raises(LedgerError, match="backwards"):
        ledger.committed("a", 6)


def test_refuses_a_second_acknowledgement_and_an_empty_chunk() -> None:
    """A ticket is acknowledged once, and a chunk covers at least one offset."""
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.reset("a", 0)
    ticket = ledger.open("a", 0, 1)
    ledger.ack(ticket)
    with pytest.raises(LedgerError, match="twice"):
        ledger.ack(ticket)
    with pytest.raises(LedgerError, match="empty"):
        ledger.open("a", 1, 1)
