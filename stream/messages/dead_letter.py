"""Dead letters: records that are no bid request, or that an output topic refused.

A dead letter is its source's key, value, timestamp and headers, followed by headers that say why it
was rejected and where it comes from. A record that is too large is cut; a dead letter whose topic
refuses the source's timestamp has another one, and the source's in a header.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from models.features.bid_request import RejectCode
from stream.messages.headers import Headers
from stream.messages.parsing import RecordError

ERROR_HEADER: Final = "weir-error"
MESSAGE_HEADER: Final = "weir-message"
TOPIC_HEADER: Final = "weir-topic"
PARTITION_HEADER: Final = "weir-partition"
OFFSET_HEADER: Final = "weir-offset"
#: Last offset of a batch that cannot be read and has one dead letter.
LAST_OFFSET_HEADER: Final = "weir-last-offset"
#: The source's timestamp, on a dead letter that has another one.
TIMESTAMP_HEADER: Final = "weir-timestamp"
#: Bytes of the source's value, -1 where that is null, on a dead letter that was cut.
TRUNCATED_HEADER: Final = "weir-truncated-from"
#: Bytes that a cut dead letter keeps of the value, and of a key that is long itself.
TRUNCATED_BYTES: Final = 1024
#: A cut dead letter loses its source's headers if they and the key are longer than this.
LONG_ENVELOPE: Final = 4096
#: Characters of a dead letter's message.
MESSAGE_CHARACTERS: Final = 500
#: Bytes of the longest cut dead letter, which follow from the limits above.
MAX_TRUNCATED_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the headers of a dead letter state.

    Attributes:
        code: Why the source was rejected, for machines.
        message: Why and where in it, for people.
        topic: Topic of the source.
        partition: Partition of the source.
        offset: Offset of the source.
        last_offset: Last offset of the source if it is a batch that cannot be read.
        timestamp: Timestamp of the source in ms if the dead letter has another one.
        truncated_from: Bytes of the source's value if the dead letter was cut, -1 for null.
    """

    code: RejectCode
    message: str
    topic: str
    partition: int
    offset: int
    last_offset: int | None = None
    timestamp: int | None = None
    truncated_from: int | None = None

    def to_headers(self) -> Headers:
        """The headers that are appended to the source's own."""
        optional = {
            name: () if number is None else ((name, b"%d" % number),)
            for name, number in (
                (TRUNCATED_HEADER, self.truncated_from),
                (LAST_OFFSET_HEADER, self.last_offset),
                (TIMESTAMP_HEADER, self.timestamp),
            )
        }
        message = self.message[:MESSAGE_CHARACTERS].encode(errors="backslashreplace")
        return (
            *optional[TRUNCATED_HEADER],
            (ERROR_HEADER, self.code.value.encode()),
            (MESSAGE_HEADER, message),
            (TOPIC_HEADER, self.topic.encode()),
            (PARTITION_HEADER, b"%d" % self.partition),
            *optional[LAST_OFFSET_HEADER],
            *optional[TIMESTAMP_HEADER],
            (OFFSET_HEADER, b"%d" % self.offset),
        )

    @classmethod
    def from_headers(cls, headers: Headers) -> Self:
        """Read the headers of a record on the dead-letter topic.

        Raises:
            RecordError: Naming the header that is missing or malformed.
        """
        found = dict(headers)
        try:
            return cls(
                RejectCode(_text(found, ERROR_HEADER)),
                _text(found, MESSAGE_HEADER),
                _text(found, TOPIC_HEADER),
                _number(found, PARTITION_HEADER),
                _number(found, OFFSET_HEADER),
                *(
                    _number(found, name) if name in found else None
                    for name in (LAST_OFFSET_HEADER, TIMESTAMP_HEADER, TRUNCATED_HEADER)
                ),
            )
        except ValueError as error:
            raise RecordError(f"dead letter: {error}") from error


def with_source_timestamp(headers: Headers, timestamp: int) -> Headers:
    """Headers of a dead letter, and the source's timestamp, which the record no longer has."""
    return (*headers[:-1], (TIMESTAMP_HEADER, b"%d" % timestamp), headers[-1])


class Envelope(NamedTuple):
    """Key, value and headers of a record."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Bytes of all three; each header counts two more for its lengths."""
        named = sum(2 + len(name.encode()) + len(content or b"") for name, content in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named

    def truncated(self) -> "Envelope":
        """The beginning of the value; if key and headers are long, of the key, and no headers."""
        value = self.value and self.value[:TRUNCATED_BYTES]
        if self._replace(value=None).size > LONG_ENVELOPE:
            return Envelope(self.key and self.key[:TRUNCATED_BYTES], value, ())
        return self._replace(value=value)


def _text(headers: dict[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise RecordError(f"the header {name} is missing")
    return value.decode()


def _number(headers: dict[str, bytes | None], name: str) -> int:
    return int(_text(headers, name))
