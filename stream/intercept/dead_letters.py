"""Dead letters made of rejected records: what goes to the dead-letter topic in their place."""

from models.features.bid_request import Reject
from stream.kafka.batches import RefusedBatch
from stream.messages import DeadLetter, RejectCode, own_headers
from stream.messages.dead_letter import Envelope, with_source_timestamp
from stream.transport import FetchedRecord, Outgoing, Record


def dead_letter(source: FetchedRecord, reject: Reject, *, cut: bool) -> Outgoing:
    """The dead letter of a record.

    Args:
        source: The rejected record.
        reject: Why it was rejected.
        cut: Whether to keep only the beginning of the record.
    """
    envelope = Envelope(source.key, source.value, own_headers(source.headers))
    length = -1 if source.value is None else len(source.value)
    letter = DeadLetter(
        code=reject.code,
        message=reject.message,
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        last_offset=source.last_offset if isinstance(source, RefusedBatch) else None,
        truncated_from=length if cut else None,
    )
    key, value, headers = envelope.truncated() if cut else envelope
    headers = (*headers, *letter.to_headers())
    return Outgoing(key, value, source.timestamp, headers, source.offset)


def too_large_for_topic(source: FetchedRecord, size: int, limit: int) -> Outgoing:
    """The dead letter of a record whose output of ``size`` bytes exceeds the topic's limit."""
    message = f"the output has {size} bytes, key and headers included; the broker takes {limit}"
    return dead_letter(source, Reject(RejectCode.TOO_LARGE, message), cut=True)


def with_timestamp(letter: Record, now_ms: int, source: int) -> Outgoing:
    """The dead letter with the timestamp `now_ms`, and the source's own in a header.

    Args:
        letter: A dead letter with the timestamp of its source.
        now_ms: The present, which every topic accepts.
        source: Offset of the source.
    """
    headers = with_source_timestamp(letter.headers, letter.timestamp)
    return Outgoing(letter.key, letter.value, now_ms, headers, source)


def size_of(record: Record) -> int:
    """Bytes of key, value and headers."""
    return Envelope(record.key, record.value, record.headers).size
