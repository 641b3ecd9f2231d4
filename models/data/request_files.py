"""Historical requests in files: JSON Lines (plain or .gz) and Parquet.

A JSON line is either a bare bid request, or an envelope with key and timestamp of the record::

    {"key": "k", "value": {"id": ...} or "text", "timestamp": 1700000000000}

A line with ``value`` and without ``imp`` is an envelope. Any other line, including malformed ones,
is itself the value, which the filter rejects if it is not a bid request. A Parquet file has a
column ``value`` (binary or text), and optionally ``key`` and ``timestamp``.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from models.errors import UserError
from models.features.lenient_json import loads
from models.features.values import millisecond

SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".ndjson", ".parquet")


class RequestFileError(UserError, ValueError):
    """A file of requests that cannot be read; the message names file, column and fix."""


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
        headers: Always empty.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()


def is_file(source: str) -> bool:
    """Whether ``source`` is a file of requests rather than a topic."""
    return source.endswith(SUFFIXES) or Path(source).exists()


def read_requests(path: Path) -> Iterator[FileRecord]:
    """The requests of a file, in its order.

    Raises:
        RequestFileError: If there is no such file, its type is unknown, or it is damaged.
    """
    if path.is_dir():
        raise RequestFileError(f"{path}: a folder; give one of its files")
    if not path.is_file():
        raise RequestFileError(f"{path}: no such file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.name.endswith(SUFFIXES):
        return _read_lines(path)
    raise RequestFileError(f"{path}: unknown type of file; known are {', '.join(SUFFIXES)}")


def _read_lines(path: Path) -> Iterator[FileRecord]:
    offset = 0
    for raw in _unzipped(path) if path.suffix == ".gz" else _plain(path):
        line = raw.rstrip(b"\r\n")
        if line:
            yield _from_line(path.name, offset, line)
            offset += 1


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from lines


def _unzipped(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as lines:
            yield from lines
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RequestFileError(f"{path}: not gzip, or incomplete ({error})") from error


def _from_line(name: str, offset: int, line: bytes) -> FileRecord:
    try:
        doc = loads(line)
    except orjson.JSONDecodeError:
        return FileRecord(name, 0, offset, None, line, 0)
    if not isinstance(doc, dict):
        return FileRecord(name, 0, offset, None, line, 0)
    if "value" not in doc or "imp" in doc:
        return FileRecord(name, 0, offset, _bytes(doc.get("id")), line, _time_of(doc))
    value = doc["value"]
    timestamp = _stamp(doc.get("timestamp")) or _time_of(value)
    return FileRecord(name, 0, offset, _bytes(doc.get("key")), _bytes(value), timestamp)


def _read_parquet(path: Path) -> Iterator[FileRecord]:
    import polars as pl  # noqa: PLC0415 - a worker reads no files

    try:
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
    except pl.exceptions.ComputeError as error:
        reason = str(error).partition("\n")[0]
        raise RequestFileError(f"{path}: not Parquet, or incomplete ({reason})") from error
    names = schema.names()
    if "value" not in names:
        raise RequestFileError(
            f"{path}: column 'value' (the raw bid request) is missing; there are {', '.join(names)}"
        )
    if "timestamp" in names and not _holds_times(schema["timestamp"]):
        raise RequestFileError(
            f"{path}: column 'timestamp' is {schema['timestamp']}; milliseconds since the epoch as "
            "integers are expected"
        )
    wanted = [name for name in ("key", "value", "timestamp") if name in names]
    offset = 0
    for batch in frame.select(wanted).collect_batches(maintain_order=True):
        for row in batch.iter_rows(named=True):
            value = _bytes(row["value"])
            timestamp = _stamp(row.get("timestamp")) or _time_of_bytes(value)
            yield FileRecord(path.name, 0, offset, _bytes(row.get("key")), value, timestamp)
            offset += 1


def _holds_times(kind: Any) -> bool:
    return bool(kind.is_integer()) or str(kind) == "Null"


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def _time_of(request: Any) -> int:
    extension = request.get("ext") if isinstance(request, dict) else None
    time = extension.get("ts") if isinstance(extension, dict) else None
    return millisecond(time) or 0


def _stamp(time: Any) -> int:
    """A timestamp that fits a record; 0 for anything else."""
    fits = isinstance(time, int) and not isinstance(time, bool) and abs(time) < 2**63
    return time if fits else 0


def _time_of_bytes(value: bytes | None) -> int:
    try:
        return _time_of(orjson.loads(value or b""))
    except orjson.JSONDecodeError:
        return 0
