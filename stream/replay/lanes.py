"""Lanes: the sequences that a source consists of, each in its own order; files are one each.

A lane gives its records in pieces, which can be read and scored side by side.
"""

from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final, NamedTuple, Protocol

from models.data.request_lines import whole_lines
from models.data.request_streams import (
    TABLE,
    expand,
    is_cut_by_ranges,
    printable,
    read_stream,
    size_of,
)
from models.data.request_tables import RequestTable
from stream.policy.rate.partition_clock import in_milliseconds
from stream.replay.records import LinesBlock, LinesRange, Piece, TableRows

#: Bytes of a piece; a few thousand requests.
PIECE_BYTES: Final = 4 << 20
#: Typical bytes of a request, from which the rows of a piece of a table follow.
_ROW_BYTES: Final = 512
_PEEK_BYTES: Final = 1 << 16
_PEEK_ROWS: Final = 1


class Planned(NamedTuple):
    """A piece of a lane.

    Attributes:
        piece: The piece.
        token: What :meth:`Lane.pieces` starts again with at this piece.
        done: Share of the lane that is read with it, 0 to 1.
    """

    piece: Piece
    token: int
    done: float


class Lane(Protocol):
    """A sequence of records.

    Attributes:
        name: File or topic and partition, for people.
        partition: Number of the partition, or of the file.
        verdict: Logged verdict about all of its records, where the topic tells it.
        absolute: Whether pieces give absolute offsets, or count from their first record.
        weight: Its size in comparison with other lanes.
        fingerprint: Changes when its records do.
    """

    name: str
    partition: int
    verdict: str | None
    absolute: bool
    weight: int
    fingerprint: int

    def pieces(self, token: int | None) -> AsyncIterator[Planned]:
        """Its pieces, from a token on; from the beginning without."""

    def first_ms(self) -> int:
        """A time that none of its records precedes in the merged history."""

    def place(self, offset: int, line: int | None) -> str:
        """Where a record is, for people."""


class FileLane:
    """One file.

    Args:
        path: Path or URL.
        number: Its number among the files.
        piece_bytes: Bytes of a piece.

    Raises:
        RequestFileError: If the file cannot be read.
    """

    verdict: str | None = None
    absolute = False

    def __init__(self, path: str, number: int, piece_bytes: int) -> None:
        self.path = path
        self.name = printable(path)
        self.partition = number
        self.weight = self.fingerprint = size_of(path)
        self._piece_bytes = piece_bytes
        self._table = RequestTable(path) if path.endswith(TABLE) else None

    async def pieces(self, token: int | None) -> AsyncIterator[Planned]:
        """Its pieces; a token is a byte, a row, or the number of a block."""
        for planned in self._pieces(token or 0):
            yield planned

    def _pieces(self, token: int) -> Iterator[Planned]:
        if self._table is not None:
            size = max(1, self._piece_bytes // _ROW_BYTES)
            for row in range(token, self._table.rows, size):
                done = min(1.0, (row + size) / self._table.rows)
                yield Planned(TableRows(self.path, row, size), row, done)
        elif is_cut_by_ranges(self.path):
            for start in range(token, self.weight, self._piece_bytes):
                end = min(start + self._piece_bytes, self.weight)
                yield Planned(LinesRange(self.path, start, end), start, end / self.weight)
        else:
            yield from islice(self._blocks(), token, None)

    def _blocks(self) -> Iterator[Planned]:
        position = 0

        def blocks() -> Iterator[bytes]:
            nonlocal position
            for block, read in read_stream(self.path, self._piece_bytes):
                position = read
                yield block

        for number, data in enumerate(whole_lines(blocks())):
            yield Planned(LinesBlock(data), number, min(1.0, position / max(1, self.weight)))

    def first_ms(self) -> int:
        """The time of its first record; 0 without one."""
        piece: Piece
        if self._table is not None:
            piece = TableRows(self.path, 0, _PEEK_ROWS)
        elif is_cut_by_ranges(self.path):
            piece = LinesRange(self.path, 0, min(self.weight, _PEEK_BYTES))
        else:
            first = next((block for block, _ in read_stream(self.path, _PEEK_BYTES)), b"")
            piece = LinesBlock(first[: first.rfind(b"\n") + 1])
        times = in_milliseconds(piece.read().times_M[:1]).tolist()
        return max(0, *times) if times else 0

    def place(self, offset: int, line: int | None) -> str:
        """File and line; file and row of a table."""
        return f"{self.name}:{line}" if line is not None else f"{self.name}: row {offset}"


def file_lanes(source: str, piece_bytes: int = PIECE_BYTES) -> list[Lane]:
    """The files of a source, one lane each.

    Raises:
        RequestFileError: If there are none, or one cannot be read.
    """
    paths = expand(source)
    return [FileLane(path, number, piece_bytes) for number, path in enumerate(paths)]
