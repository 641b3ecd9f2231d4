"""Headers of records: those that Weir writes, and those of the exchange.

Weir's headers are named ``weir`` or begin with ``weir-``. They are removed from incoming requests,
so that consumers downstream never read one that Weir did not write.
"""

from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[str, bytes | None]]

DECISION_HEADER: Final = "weir"
#: The publisher's number of a request; restores the order across partitions.
SEQUENCE_HEADER: Final = "seq"
_RESERVED_PREFIX: Final = f"{DECISION_HEADER}-"


def own_headers(headers: Headers) -> Headers:
    """The exchange's headers: all but those whose names Weir reserves."""
    for name, _ in headers:
        if name.startswith(DECISION_HEADER) and _is_reserved(name):
            return tuple(header for header in headers if not _is_reserved(header[0]))
    return headers


def _is_reserved(name: str) -> bool:
    return name == DECISION_HEADER or name.startswith(_RESERVED_PREFIX)


def sequence_header(number: int) -> tuple[str, bytes]:
    """The header that carries the publisher's number of a record, 0 to 2**63 - 1."""
    return SEQUENCE_HEADER, number.to_bytes(8, "big")


def sequence_number(headers: Headers) -> int:
    """The publisher's number of a record; 0 where there is none, or none that fits 63 bits."""
    number = dict(headers).get(SEQUENCE_HEADER) or b""
    return int.from_bytes(number, "big") if len(number) <= 8 and number < b"\x80" else 0
