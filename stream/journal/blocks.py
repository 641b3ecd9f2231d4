"""Journals as numbered blocks: lists of entries cut to what a record holds, and put together again.

A list of entries that is longer than a block goes on in the next one. A reader takes the blocks of
one worker in order; a block that is written twice, after an answer of the broker was lost, counts
once, and a block that is missing ends the journal, because nothing after it can be repeated.
"""

from collections.abc import Iterator, Sequence

import xxhash

from models.bounds import MAX_JOURNAL_LIST_BYTES, MAX_JOURNAL_PART_BYTES
from stream.messages.journal import Entry, Started, read_block, read_entries, write_block
from stream.messages.parsing import RecordError


class BlockWriter:
    """Cuts lists of entries into blocks."""

    def __init__(self) -> None:
        self._next = 0

    def blocks(self, entries: bytes) -> Iterator[bytes]:
        """The values of the records of one list of entries."""
        for start in range(0, len(entries), MAX_JOURNAL_PART_BYTES):
            end = start + MAX_JOURNAL_PART_BYTES
            yield write_block(self._next, entries[start:end], more=end < len(entries))
            self._next += 1


class BlockReader:
    """Puts the blocks of one worker together.

    Attributes:
        blocks: Number of different blocks read so far.
    """

    def __init__(self) -> None:
        self.blocks = 0
        self._last_hash = b""
        self._parts: list[bytes] = []
        self._size = 0

    def read(self, value: bytes | None) -> Sequence[Entry]:
        """The entries that are complete with the next record of this worker.

        Raises:
            RecordError: If the record is no block, a block is missing before it, another one has
                its number, or the entries are not those of a journal. Nothing after it can be read.
        """
        block = read_block(value)
        digest = xxhash.xxh3_128_digest(value or b"")
        if block.number == self.blocks - 1:
            if digest != self._last_hash:
                raise RecordError(f"journal block: two different ones have number {block.number}")
            return ()
        if block.number != self.blocks:
            raise RecordError(f"journal block: {block.number} follows {self.blocks - 1}")
        self._last_hash, self.blocks = digest, self.blocks + 1
        self._parts.append(block.part)
        self._size += len(block.part)
        if self._size > MAX_JOURNAL_LIST_BYTES:
            raise RecordError(f"journal: a list of over {MAX_JOURNAL_LIST_BYTES} bytes")
        if block.more:
            return ()
        first = self.blocks == len(self._parts)
        entries = read_entries(b"".join(self._parts))
        self._parts, self._size = [], 0
        if not entries:
            raise RecordError("journal: an empty list of entries")
        for at, entry in enumerate(entries):
            if isinstance(entry, Started) is not (first and at == 0):
                raise RecordError("journal: it does not begin with its only start of a worker")
        return entries
