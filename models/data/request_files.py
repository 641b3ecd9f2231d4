"""Historical requests in files: JSON Lines (plain, gzip or zstd) and Parquet.

A JSON line is either a bare bid request, or an envelope with what the record had beside it::

    {"key": "k", "value": {"id": ...} or "text", "timestamp": 1700000000000,
     "headers": [["name", "text"], ...]}

A line with ``value`` and without ``imp`` is an envelope. Any other line, including malformed ones,
is itself the value, which the filter rejects if it is not a bid request. A Parquet file has a
column ``value`` (binary or text), and optionally ``key``, ``timestamp`` and ``headers`` (a map, a
list of names and values, or the JSON of an envelope's headers).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from models.data.request_lines import Headers, read_line, whole_lines
from models.data.request_streams import (
    SUFFIXES,
    TABLE,
    RequestFileError,
    expand,
    is_file,
    read_stream,
)

__all__ = ["SUFFIXES", "FileRecord", "RequestFileError", "is_file", "read_requests"]

_ROWS: Final = 4096


class FileRecord(NamedTuple):
    """A request of a file, with the attributes of a consumed record.

    Attributes:
        topic: The file's name.
        partition: Always 0.
        offset: Its index in the file, from 0.
        key: Record key, or None.
        value: The raw bid request.
        timestamp: Milliseconds since the epoch. If the file gives none, the request's ``ext.ts`` in
            any unit; 0 without that.
        headers: Headers of the record, if the file keeps them.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()


def read_requests(source: str | Path) -> Iterator[FileRecord]:
    """The requests of files, one after the other, each in its order.

    Args:
        source: A path, a glob, or an fsspec URL.

    Raises:
        RequestFileError: If there is no such file, its type is unknown, or it is damaged.
    """
    return _read(expand(str(source)))


def _read(paths: list[str]) -> Iterator[FileRecord]:
    for path in paths:
        yield from _read_table(path) if path.endswith(TABLE) else _read_lines(path)


def _read_lines(path: str) -> Iterator[FileRecord]:
    name, offset = Path(path).name, 0
    for block in whole_lines(block for block, _ in read_stream(path)):
        for raw in block.split(b"\n"):
            if line := raw.rstrip(b"\r"):
                key, value, timestamp, headers = read_line(line)
                yield FileRecord(name, 0, offset, key, value, timestamp, headers)
                offset += 1


def _read_table(path: str) -> Iterator[FileRecord]:
    from models.data.request_tables import (  # noqa: PLC0415 - a worker reads no files
        RequestTable,
        headers_of,
        keys_of,
        times_of,
    )

    table, name = RequestTable(path), Path(path).name
    for start in range(0, table.rows, _ROWS):
        frame = table.read(start, _ROWS)
        headers = headers_of(frame) or [()] * frame.height
        rows = zip(
            keys_of(frame), frame["value"].to_list(), times_of(frame).tolist(), headers, strict=True
        )
        for offset, (key, value, timestamp, header) in enumerate(rows, start):
            yield FileRecord(name, 0, offset, key, value, timestamp, header)
