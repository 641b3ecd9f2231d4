"""Files as streams of bytes: paths, globs and fsspec URLs; plain, gzip and zstd."""

import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec

from models.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES: Final = (".jsonl", ".ndjson")
TABLE: Final = ".parquet"
GZIP: Final = ".gz"
ZSTD: Final = ".zst"
#: Endings of files of requests.
SUFFIXES: Final = (*(kind + packed for kind in LINES for packed in ("", GZIP, ZSTD)), TABLE)
#: Bytes of a stream that are read at a time.
BLOCK_BYTES: Final = 1 << 20

_SCHEME: Final = "://"


class RequestFileError(UserError, ValueError):
    """A file of requests that cannot be read; the message names file, column and fix."""


def is_file(source: str) -> bool:
    """Whether ``source`` is files of requests (path, glob, URL) rather than a topic."""
    return (
        source.endswith(SUFFIXES)
        or _SCHEME in source
        or os.sep in source
        or has_magic(source)
        or Path(source).exists()
    )


def printable(path: str) -> str:
    """A path for people and JSON; its name need not be UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def is_remote(path: str) -> bool:
    """Whether a path is a URL, which fsspec reads."""
    return _SCHEME in path


def expand(source: str) -> list[str]:
    """The files of a source, in the order of their names.

    Args:
        source: A path, a glob, or a URL that may have a glob in it.

    Raises:
        RequestFileError: If there is none, or one is a folder or of an unknown kind.
    """
    if not is_remote(source) and Path(source).is_dir():
        raise RequestFileError(
            f"{source}: a folder; give one of its files, or a glob such as '*.parquet'"
        )
    found = sorted(_glob(source)) if has_magic(source) and not _exists(source) else [source]
    if not found:
        raise RequestFileError(f"{source}: no file matches")
    for path in found:
        if not _exists(path):
            raise RequestFileError(f"{path}: no such file")
        if not path.endswith(SUFFIXES):
            raise RequestFileError(f"{path}: unknown type of file; known are {', '.join(SUFFIXES)}")
    return found


def _glob(source: str) -> list[str]:
    if not is_remote(source):
        found = glob(source, recursive=True)  # noqa: PTH207 - takes relative and absolute patterns
        return [path for path in found if Path(path).is_file()]
    with _remote(source) as (files, path):
        return [str(files.unstrip_protocol(found)) for found in files.glob(path)]


def _exists(path: str) -> bool:
    if not is_remote(path):
        return Path(path).is_file()
    with _remote(path) as (files, inner):
        return bool(files.exists(inner))


@contextmanager
def _remote(url: str) -> Iterator[tuple[Any, str]]:
    """File system and path of a URL; its errors name the URL."""
    try:
        files, path = fsspec.core.url_to_fs(url)
        yield files, path
    except RequestFileError:
        raise
    except Exception as error:  # file systems raise errors of their own libraries
        raise RequestFileError(f"{url}: cannot be read: {error}") from error


def size_of(path: str) -> int:
    """Bytes of a file, as it is stored."""
    if not is_remote(path):
        return Path(path).stat().st_size
    with _remote(path) as (files, inner):
        return int(files.size(inner) or 0)


def local_copy(path: str) -> str:
    """Path of a file on this machine: itself, or a copy that lasts as long as the process."""
    if not is_remote(path):
        return path
    with _remote(path):
        return str(fsspec.open_local(f"simplecache::{path}", mode="rb"))


def is_cut_by_ranges(path: str) -> bool:
    """Whether ranges of its bytes can be read on their own: of a plain local file of lines."""
    return not is_remote(path) and path.endswith(LINES)


def read_stream(path: str, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Unpacked blocks of a file, each with the position in the file as it is stored.

    Raises:
        RequestFileError: If it cannot be opened, is not packed as its name says, or breaks off.
    """
    try:
        with _open(path) as file, _unpacked(path, file) as unpacked:
            while block := unpacked.read(block_bytes):
                yield block, _position(file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        packed = "zstd" if path.endswith(ZSTD) else "gzip"
        raise RequestFileError(f"{path}: not {packed}, or incomplete ({error})") from error
    except zstd.ZstdError as error:
        raise RequestFileError(f"{path}: not zstd, or incomplete ({error})") from error
    except OSError as error:
        raise RequestFileError(f"{path}: cannot be read: {error}") from error


def _position(file: BinaryIO) -> int:
    return file.tell()


def _open(path: str) -> BinaryIO:
    if not is_remote(path):
        return Path(path).open("rb")
    with _remote(path) as (files, inner):
        return cast("BinaryIO", files.open(inner, "rb"))


def _unpacked(path: str, file: BinaryIO) -> BinaryIO:
    if path.endswith(GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
    if path.endswith(ZSTD):
        return cast("BinaryIO", zstd.ZstdFile(file, mode="rb"))
    return file


def read_range(path: str, start: int, end: int, longest: int) -> bytes:
    """The lines of a plain local file that begin within a range of its bytes.

    Args:
        path: The file.
        start: First byte of the range.
        end: First byte after it.
        longest: Bytes of a line that are kept.
    """
    with Path(path).open("rb") as file:
        if start:
            file.seek(start - 1)
        data = file.read(end - start + bool(start))
        if start:
            first = data.find(b"\n", 0, len(data) - 1) + 1
            if not first:
                return b""
            data = data[first:]
        if not data.endswith(b"\n"):
            line_start = data.rfind(b"\n") + 1
            rest = file.readline(max(longest - (len(data) - line_start), 0))
            data += rest
    return data
