"""The codec of journals: what is written is read, and hostile bytes are refused in words."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages.journal import (
    FORMAT,
    Assigned,
    BatchDecided,
    Block,
    ChangeApplied,
    Entry,
    EvidenceUsed,
    FleetReset,
    ModelLoaded,
    Run,
    ScenarioExpired,
    ScenarioHeld,
    SettingsSettled,
    SpendingApplied,
    Started,
    StatesMerged,
    Stopped,
    SummariesMade,
    SummaryAcknowledged,
    read_block,
    read_entries,
    write_block,
    write_entries,
    write_entry,
)
from stream.messages.parsing import RecordError

counts = st.integers(0, 2**63 - 1)
partitions = st.integers(0, bounds.MAX_PARTITION)
names = st.text(max_size=20)
texts = st.binary(max_size=50)
runs = st.builds(Run, partitions, counts, st.integers(0, 2**53), st.integers(1, 2000))
entries = st.one_of(
    st.builds(Started, st.text(min_size=1, max_size=32), counts, names, texts),
    st.builds(ModelLoaded, st.integers(1, 99), names, st.just("ab" * 32)),
    st.builds(
        BatchDecided, counts, st.integers(0, 99), st.lists(runs, min_size=1, max_size=5).map(tuple)
    ),
    st.builds(EvidenceUsed, st.none() | texts),
    st.builds(ChangeApplied, names, st.none() | texts),
    st.builds(SpendingApplied, names, texts),
    st.builds(Assigned, st.lists(partitions, max_size=5).map(tuple), counts),
    st.builds(StatesMerged, st.lists(st.tuples(texts, texts), max_size=3).map(tuple)),
    st.builds(ScenarioExpired, names),
    st.builds(FleetReset),
    st.builds(SummariesMade, st.floats(allow_nan=False)),
    st.builds(ScenarioHeld, names),
    st.builds(SummaryAcknowledged, names, counts, counts),
    st.builds(SettingsSettled),
    st.builds(Stopped),
)


@given(st.lists(entries, max_size=20))
def test_entries_are_read_as_they_were_written(written: list[Entry]) -> None:
    """Also floats, to the last bit, and texts that are not JSON."""
    assert read_entries(write_entries(list(map(write_entry, written)))) == written


@given(counts, st.binary(max_size=100), st.booleans())
def test_blocks_are_read_as_they_were_written(number: int, part: bytes, more: bool) -> None:
    """A block keeps its number and its part."""
    block = read_block(write_block(number, part, more=more))
    assert block == Block(FORMAT, number, more, part)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(raw: bytes) -> None:
    """No other exception than the one that the reader counts."""
    for read in (read_entries, read_block):
        try:
            read(raw)
        except RecordError as error:
            assert str(error).startswith("journal")


@given(st.lists(entries, min_size=1, max_size=5), st.data())
def test_changed_bytes_are_read_or_refused(written: list[Entry], data: st.DataObject) -> None:
    """One byte of a list is another, or the list is cut."""
    raw = bytearray(write_entries(list(map(write_entry, written))))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    for changed in (bytes(raw), bytes(raw[:at])):
        try:
            found = read_entries(changed)
        except RecordError:
            continue
        assert all(isinstance(entry, get_args(Entry)) for entry in found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "truncated"),
        (msgspec.msgpack.encode([FORMAT, -1, False, b""]), ">= 0"),
        (msgspec.msgpack.encode([FORMAT, 0, False, b"", 1]), "length"),
        (msgspec.msgpack.encode([FORMAT + 1, 0, False, b""]), f"format {FORMAT + 1}"),
        (msgspec.msgpack.encode([FORMAT, 0, False, b"a" * (600 << 10)]), "at most"),
        (b"\x91" * 100_000, "journal block"),
    ],
)
def test_what_is_no_block_is_refused_with_the_fault(value: bytes, message: str) -> None:
    """The error says what was expected."""
    with pytest.raises(RecordError, match=message):
        read_block(value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([2, 0, 0, []], "length >= 1"),
        ([2, 0, 0, [[0, 0, 0, 0]]], ">= 1"),
        ([2, 0, 0, [[bounds.MAX_PARTITION + 1, 0, 0, 1]]], "<= "),
        ([1, 1, "v1", "not a hash"], "regex"),
        ([99], "[Ii]nvalid value 99"),
        ({"a": 1}, "array"),
    ],
)
def test_an_entry_out_of_its_bounds_is_refused(entry: object, message: str) -> None:
    """Partitions, counts, hashes and types."""
    with pytest.raises(RecordError, match=message):
        read_entries(msgspec.msgpack.encode([entry]))


def test_a_batch_takes_some_thirty_bytes() -> None:
    """A thousand requests of one partition; four partitions take under a hundred."""
    one = BatchDecided(1_800_000_000_000, 1, (Run(3, 12_345_678_901, 1023, 1024),))
    assert len(write_entry(one)) <= 35
    four = BatchDecided(
        1_800_000_000_000, 1, tuple(Run(p, 12_345_678_901, 255, 256) for p in range(4))
    )
    assert len(write_entry(four)) <= 90
