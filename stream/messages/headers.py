"""Headers of records: those that Weir writes, and the exchange's own.

Weir's headers are named ``weir`` or begin with ``weir-``; on a request that comes in they are
removed, so that nobody downstream reads one that Weir did not write.
"""

from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[str, bytes | None]]

DECISION_HEADER: Final = "weir"
#: In which the publisher numbers what it sends; restores order across partitions.
SEQUENCE_HEADER: Final = "seq"
_RESERVED_PREFIX: Final = f"{DECISION_HEADER}-"


def own_headers(headers: Headers) -> Headers:
    """The headers that are the exchange's own, without those whose names Weir reserves."""
    for name, _ in headers:
        if name.startswith(DECISION_HEADER) and _is_reserved(name):
            return tuple(header for header in headers if not _is_reserved(header[0]))
    return headers


def _is_reserved(name: str) -> bool:
    return name == DECISION_HEADER or name.startswith(_RESERVED_PREFIX)


def sequence_number(headers: Headers) -> int:
    """The publisher's number of a record; 0 where there is none, or none that fits 63 bits."""
    number = dict(headers).get(SEQUENCE_HEADER) or b""
    return int.from_bytes(number, "big") if len(number) <= 8 and number < b"\x80" else 0
