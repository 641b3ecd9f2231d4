"""Pieces of a source: what one process reads and scores at a time.

A piece can be sent to another process, and reads the same records there.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.data.request_lines import MAX_LINE_BYTES, Headers, read_line
from models.data.request_streams import read_range
from models.data.request_tables import RequestTable, headers_of, times_of
from stream.messages.headers import Headers as RecordHeaders

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Records:
    """M records, in the order of their source.

    Attributes:
        values: Raw bid requests; None for null.
        times_M: Timestamps, int64 ms.
        offsets_M: Offsets; those in files count from the first record of the piece.
        headers: Headers of each record; None if no record has any.
        lines_M: Number of each record's line, from 1 for the first line of the piece; None where
            records are no lines.
        line_count: Lines of the piece, empty ones included.
        unreadable: Index and reason of records that could not be read from their batch.
    """

    values: list[bytes | None]
    times_M: Ints
    offsets_M: Ints
    headers: list[RecordHeaders] | list[Headers] | None = None
    lines_M: Ints | None = None
    line_count: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


class Piece(Protocol):
    """A part of a source; can be pickled."""

    def read(self) -> Records:
        """Its records.

        Raises:
            RequestFileError: If its file is damaged.
        """


@dataclass(frozen=True, slots=True)
class LinesRange:
    """The lines that begin within a range of bytes of a plain local file."""

    path: str
    start: int
    end: int

    def read(self) -> Records:
        """Its records."""
        return _read_lines(read_range(self.path, self.start, self.end, MAX_LINE_BYTES))


@dataclass(frozen=True, slots=True)
class LinesBlock:
    """Whole lines that were read, and unpacked, from a stream."""

    data: bytes

    def read(self) -> Records:
        """Its records."""
        return _read_lines(self.data)


@dataclass(frozen=True, slots=True)
class TableRows:
    """Some rows of a Parquet file."""

    path: str
    start: int
    count: int

    def read(self) -> Records:
        """Its records."""
        frame = _table(self.path).read(self.start, self.count)
        return Records(
            frame["value"].to_list(),
            times_of(frame),
            np.arange(frame.height, dtype=np.int64),
            headers_of(frame),
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of a topic."""

    records: Records

    def read(self) -> Records:
        """Its records."""
        return self.records


@lru_cache(maxsize=8)
def _table(path: str) -> RequestTable:
    return RequestTable(path)


def _read_lines(data: bytes) -> Records:
    raw = data.split(b"\n")
    line_count = len(raw) - (not raw[-1])
    values: list[bytes | None] = []
    times, numbers, headers = [], [], []
    any_headers = False
    for number, text in enumerate(raw, 1):
        if line := text.rstrip(b"\r"):
            _, value, timestamp, with_value = read_line(line)
            values.append(value)
            times.append(timestamp)
            numbers.append(number)
            headers.append(with_value)
            any_headers = any_headers or bool(with_value)
    return Records(
        values,
        np.array(times, np.int64),
        np.arange(len(values), dtype=np.int64),
        headers if any_headers else None,
        np.array(numbers, np.int64),
        line_count,
    )
