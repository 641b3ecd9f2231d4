"""Seals: beside each part of the example store lies its hash, so that damage is found unread.

A damaged Parquet file does not only raise: what its bytes ask of the reader can end the process.
"""

from pathlib import Path
from typing import Final

from xxhash import xxh3_128

from models.errors import UserError

_SEAL: Final = ".xxh3"
_PIECE: Final = 1 << 20


class DamagedPartError(UserError, RuntimeError):
    """A part that is no whole Parquet file; the message names it."""


def seal(part: Path) -> None:
    """Write down what a part holds; a part without a seal is taken as it is."""
    part.with_suffix(_SEAL).write_text(_digest(part))


def verify(part: Path) -> None:
    """Read a part through and compare it with its seal, if it has one.

    Raises:
        DamagedPartError: If it holds something else.
        OSError: If it cannot be read.
    """
    try:
        sealed = part.with_suffix(_SEAL).read_text()
    except FileNotFoundError:
        return
    if sealed and sealed != _digest(part):
        raise DamagedPartError(f"{part}: damaged: it is not what was written ({_SEAL} beside it)")


def _digest(part: Path) -> str:
    digest = xxh3_128()
    with part.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
