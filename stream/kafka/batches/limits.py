"""The limits within which a consumer decodes batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream.kafka.batches.codecs import Unpacker
from stream.kafka.batches.refused import RefusedBatch

#: Memory of a header (72 bytes and its strings); on the wire it may take two bytes.
HEADER_BYTES_HELD: Final = 160


@dataclass(slots=True)
class Room:
    """Bytes that may still be delivered; shared by all partitions of a fetch."""

    left: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How a consumer decodes batches.

    Attributes:
        unpacker: Unpacks batches, within its limit.
        refused: Called with everything that is refused.
        keep: Whether a refused batch is delivered among the records; else it is skipped.
        max_bytes: Delivery at one time ends with the records that exceed this; a header counts as
            `HEADER_BYTES_HELD`.
        room: Shared by the partitions of a fetch; the fetcher resets it to `max_bytes`.
    """

    unpacker: Unpacker
    refused: Callable[[RefusedBatch], None]
    keep: bool
    max_bytes: int
    room: Room
