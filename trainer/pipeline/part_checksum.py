"""Checksums of the example store's parts: a file beside each part, compared before it is parsed.

A damaged Parquet file does not always raise: its bytes can crash the process that parses them.
"""

from pathlib import Path
from typing import Final

from xxhash import xxh3_128

from models.errors import UserError

_SUFFIX: Final = ".xxh3"
_CHUNK_BYTES: Final = 1 << 20


class DamagedPartError(UserError, RuntimeError):
    """A part that is damaged or not a Parquet file; the message names it."""


def write_checksum(part: Path) -> None:
    """Write the checksum of a part beside it; a part without one is not verified."""
    part.with_suffix(_SUFFIX).write_text(_digest(part))


def verify_checksum(part: Path) -> None:
    """Read the whole part and compare it with its checksum, if it has one.

    Raises:
        DamagedPartError: If they differ.
        OSError: If it cannot be read.
    """
    try:
        expected = part.with_suffix(_SUFFIX).read_text()
    except FileNotFoundError:
        return
    if expected and expected != _digest(part):
        raise DamagedPartError(
            f"{part}: damaged: its checksum differs from the {_SUFFIX} beside it"
        )


def _digest(part: Path) -> str:
    digest = xxh3_128()
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
