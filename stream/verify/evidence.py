"""What a record states about its source: the verifier's own reading of the wire contract.

This is deliberately a second implementation: header names, JSON and truncation are spelt here and
not taken from :mod:`stream.messages`, so that a fault there cannot hide itself from the verifier.

An output lies on its source's partition number and has its source's key, value, timestamp and
headers, without those named ``weir`` or ``weir-...``, followed by headers that Weir adds. The
``weir`` header of a passed or blocked record names the source offset, as ``weir-offset`` of a dead
letter does. The value of a dead letter may be cut; ``weir-truncated-from`` then states its length
(-1: it was null). If key and headers of its source are long, the key is cut, too, and there are no
headers. A batch that cannot be read is one source. A dead letter whose topic refuses the source's
timestamp has another one, and the source's in ``weir-timestamp``.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import xxhash
from aiokafka import ConsumerRecord

from stream.verify.account import Fate

#: Bytes of the value that a cut dead letter keeps.
KEPT_BYTES: Final = 1024
#: Bytes of key and headers together beyond which a cut dead letter loses them, too.
LONG_ENVELOPE: Final = 4096
NOWHERE: Final = -1
LOG_APPEND_TIME: Final = 1
INT64: Final = range(-(2**63), 2**63)
LENGTHS: Final = range(-1, 2**31)
DIGITS: Final = 20
"""Characters of the longest number that is read."""
#: Names of the headers that Weir removes from requests.
_RESERVED: Final = re.compile(r"weir(-|\Z)")

_SIZES: Final = struct.Struct("<ii")

Headers = Sequence[tuple[str, bytes | None]]


class Evidence(NamedTuple):
    """What an output record states.

    Attributes:
        source: Source offset.
        content: Hash of the source's key, headers and value.
        timestamp: Timestamp of the source in ms.
        cut: Whether the value was cut.
        appended: Whether the broker has replaced the timestamp by its own time.
    """

    source: int
    content: int
    timestamp: int
    cut: bool
    appended: bool


def output_evidence(fate: Fate, requests: str, record: ConsumerRecord) -> Evidence:
    """Parse an output record; one that does not name its source has source -1.

    Any producer may have written it: a number that no output of Weir can have counts as absent.
    """
    original, own = _split_headers(fate, record.headers)
    source = _source(fate, requests, record.partition, own)
    own_time = _number(own.get("weir-timestamp"), INT64)
    stamp, appended = record.timestamp, record.timestamp_type == LOG_APPEND_TIME
    if own_time is not None:
        stamp, appended = own_time, False
    length = _number(own.get("weir-truncated-from"), LENGTHS)
    cut = length is not None
    digest = _digest(record.key, original, _length(record.value) if length is None else length)
    digest.update(record.value or b"")
    return Evidence(source, digest.intdigest(), stamp, cut, appended)


def _split_headers(fate: Fate, headers: Headers) -> tuple[Headers, dict[str, bytes | None]]:
    """Split the headers into those of the source and those that follow them."""
    names = [name for name, _ in headers]
    added = "weir" if fate is not Fate.REJECTED else "weir-error"
    if added not in names:
        return headers, {}
    at = len(names) - 1 - names[::-1].index(added)
    if fate is Fate.REJECTED and at > 0 and names[at - 1] == "weir-truncated-from":
        at -= 1
    return headers[:at], dict(headers[at:])


def _source(fate: Fate, requests: str, partition: int, own: Mapping[str, bytes | None]) -> int:
    """The source offset; -1 if the record names none, or another topic or partition."""
    if fate is Fate.REJECTED:
        here = own.get("weir-topic"), own.get("weir-partition")
        found = _number(own.get("weir-offset"), INT64)
        mine = here == (requests.encode(), b"%d" % partition)
        return found if mine and found is not None else NOWHERE
    try:
        offset = orjson.loads(own["weir"] or b"")["offset"]
    except (KeyError, ValueError, TypeError):
        return NOWHERE
    return offset if type(offset) is int and offset in INT64 else NOWHERE


def _number(digits: bytes | None, within: range) -> int | None:
    """The decimal number in a header; None if there is none, or none within the range."""
    if digits is None or len(digits) > DIGITS or not digits.removeprefix(b"-").isdigit():
        return None
    number = int(digits)
    return number if number in within else None


def input_hashes(record: ConsumerRecord) -> tuple[int, int]:
    """Content hashes of an input: as a truncated dead letter has it, and of the whole.

    The timestamp is not included.
    """
    value, length = record.value or b"", _length(record.value)
    headers = [header for header in record.headers if not _RESERVED.match(header[0])]
    whole = _digest(record.key, headers, length)
    if _is_long(record.key, headers):
        cut = _digest(record.key and record.key[:KEPT_BYTES], (), length)
    else:
        cut = whole.copy()
    cut.update(value[:KEPT_BYTES])
    whole.update(value)
    return cut.intdigest(), whole.intdigest()


def _is_long(key: bytes | None, headers: Headers) -> bool:
    named = sum(2 + len(name.encode()) + len(content or b"") for name, content in headers)
    return len(key or b"") + named > LONG_ENVELOPE


def _digest(key: bytes | None, headers: Headers, length: int) -> xxhash.xxh3_64:
    """Hash of key, headers and the value's length; the value is still to be added."""
    digest = xxhash.xxh3_64(_SIZES.pack(_length(key), length))
    digest.update(key or b"")
    for name, content in headers:
        encoded = name.encode()
        digest.update(_SIZES.pack(len(encoded), _length(content)) + encoded + (content or b""))
    return digest


def _length(content: bytes | None) -> int:
    return -1 if content is None else len(content)
