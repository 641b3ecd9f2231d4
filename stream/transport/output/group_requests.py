"""Requests to a group's coordinator in the versions of KIP-447, which aiokafka does not have.

With TxnOffsetCommit from version 3 a producer states the generation and the member on whose behalf
it commits, and the coordinator refuses a member that the group has expelled. With OffsetFetch from
version 7 it answers with an error, instead of an old offset, while a transaction may still change
the offset. Brokers have both since Kafka 2.5. Source of the formats: TxnOffsetCommitRequest.json
and OffsetFetchRequest.json of Apache Kafka.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from stream.transport.output.sink import Member

TXN_OFFSET_COMMIT: Final = (28, 3)  # key and version
OFFSET_FETCH: Final = (9, 7)
#: Errors of TxnOffsetCommit that say that the member does not own its partitions any more: illegal
#: generation, unknown member, rebalance in progress, fenced instance.
EXPELLED: Final = frozenset({22, 25, 27, 82})
UNSTABLE_OFFSET: Final = 88  # a transaction that may change the offset has not ended
_NO_LEADER_EPOCH: Final = -1
_NO_INSTANCE: Final = None
_NO_TAGS: Final[dict[int, bytes]] = {}


class TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    """Version 3 of the response."""

    API_KEY, API_VERSION = TXN_OFFSET_COMMIT
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("error_code", Int16), ("tags", TaggedFields)
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )

    @property
    def errors(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """Partition and error code, by topic: the form of the response that aiokafka has."""
        return [(topic, [(p[0], p[1]) for p in partitions]) for topic, partitions, _ in self.topics]


class TxnOffsetCommitStruct(RequestStruct):  # type: ignore[misc]
    """Version 3 of the request."""

    API_KEY, API_VERSION = TXN_OFFSET_COMMIT
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("group_id", CompactString("utf-8")),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", CompactString("utf-8")),
        ("group_instance_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class TxnOffsetCommitRequest(Request[TxnOffsetCommitStruct]):  # type: ignore[misc]
    """Adds offsets of a group to a transaction, on behalf of a member.

    Args:
        producer: Transactional id, producer id and epoch.
        group: Name of the group.
        member: The member that owns the partitions.
        offsets: Offset and metadata by partition number, by topic.
    """

    API_KEY = TXN_OFFSET_COMMIT[0]

    def __init__(
        self,
        producer: tuple[str, int, int],
        group: str,
        member: Member,
        offsets: Mapping[str, Mapping[int, tuple[int, str]]],
    ) -> None:
        self._producer = producer
        self._group = group
        self._member = member
        self._offsets = offsets

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker supports."""
        name, producer_id, epoch = self._producer
        topics = [
            (
                topic,
                [(n, at, _NO_LEADER_EPOCH, text, _NO_TAGS) for n, (at, text) in rows.items()],
                _NO_TAGS,
            )
            for topic, rows in self._offsets.items()
        ]
        generation, member_id = self._member.generation, self._member.id
        return request_struct_class(
            name, self._group, producer_id, epoch, generation, member_id, _NO_INSTANCE, topics,
            _NO_TAGS,
        )  # fmt: skip


class OffsetFetchResponse(Response):  # type: ignore[misc]
    """Version 7 of the response."""

    API_KEY, API_VERSION = OFFSET_FETCH
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchStruct(RequestStruct):  # type: ignore[misc]
    """Version 7 of the request."""

    API_KEY, API_VERSION = OFFSET_FETCH
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponse
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest(Request[OffsetFetchStruct]):  # type: ignore[misc]
    """Asks for a group's committed offsets.

    Args:
        group: Name of the group.
        partitions: Pairs of topic and partition number.
        stable: Whether an offset that a transaction may still change is an error.
    """

    API_KEY = OFFSET_FETCH[0]

    def __init__(self, group: str, partitions: Iterable[tuple[str, int]], *, stable: bool) -> None:
        self._group = group
        self._stable = stable
        self._numbers: dict[str, list[int]] = {}
        for topic, number in partitions:
            self._numbers.setdefault(topic, []).append(number)

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker supports."""
        topics: Sequence[Any] = [(name, all_of, _NO_TAGS) for name, all_of in self._numbers.items()]
        return request_struct_class(self._group, topics, self._stable, _NO_TAGS)
