"""Journals cut into blocks and put together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.journal import blocks
from stream.journal.blocks import BlockReader, BlockWriter
from stream.messages.journal import (
    Entry,
    ScenarioExpired,
    Started,
    Stopped,
    write_block,
    write_entries,
    write_entry,
)
from stream.messages.parsing import RecordError

START = Started("w", 0, "1", b"{}")


def cut(lists: list[list[Entry]]) -> list[bytes]:
    writer = BlockWriter()
    return [
        block
        for entries in lists
        for block in writer.blocks(write_entries([write_entry(entry) for entry in entries]))
    ]


expiries = st.builds(ScenarioExpired, st.text(max_size=30))


@given(st.lists(st.lists(expiries, min_size=1, max_size=10), max_size=10), st.data())
def test_blocks_of_any_size_give_the_entries_in_order(
    lists: list[list[Entry]], data: st.DataObject
) -> None:
    """Also where some blocks are written twice in a row."""
    lists = [[START], *lists, [Stopped()]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MAX_JOURNAL_PART_BYTES", data.draw(st.integers(1, 50)))
        written = cut(lists)
    reader, found = BlockReader(), list[Entry]()
    for block in written:
        for _ in range(data.draw(st.integers(1, 2))):
            found += reader.read(block)
    assert found == [entry for entries in lists for entry in entries]
    assert reader.blocks == len(written)


def test_a_missing_block_ends_the_journal() -> None:
    """The error names both numbers."""
    first, _, third = cut([[START], [ScenarioExpired("a")], [Stopped()]])
    reader = BlockReader()
    assert reader.read(first) == [START]
    with pytest.raises(RecordError, match="2 follows 0"):
        reader.read(third)


def test_a_second_block_of_the_same_number_ends_the_journal() -> None:
    """Two workers of one name, or a forger."""
    (first,) = cut([[START]])
    reader = BlockReader()
    reader.read(first)
    with pytest.raises(RecordError, match="two different ones have number 0"):
        reader.read(write_block(0, b"\x90", more=False))


@pytest.mark.parametrize("lists", [[[Stopped()]], [[START], [START]], [[START, START]]])
def test_a_journal_has_one_start_which_is_its_beginning(lists: list[list[Entry]]) -> None:
    """A journal whose first blocks retention has deleted cannot be repeated; nor can two in one."""
    reader = BlockReader()
    *before, last = cut(lists)
    for block in before:
        reader.read(block)
    with pytest.raises(RecordError, match="begin"):
        reader.read(last)


def test_an_empty_list_is_refused() -> None:
    """So that the start is the first entry of the first block."""
    with pytest.raises(RecordError, match="empty"):
        BlockReader().read(write_block(0, b"\x90", more=False))


def test_an_endless_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory."""
    monkeypatch.setattr(blocks, "MAX_JOURNAL_LIST_BYTES", 1000)
    reader = BlockReader()
    for number in range(10):
        reader.read(write_block(number, b"a" * 100, more=True))
    with pytest.raises(RecordError, match="over 1000 bytes"):
        reader.read(write_block(10, b"a", more=True))
