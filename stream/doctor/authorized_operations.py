"""Requests for the operations that a client is authorized for (KIP-430), which aiokafka lacks."""

from collections.abc import Sequence
from typing import Any, Final

from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from stream.kafka.rights import Operation

#: The bit field of a broker that does not report authorized operations.
_NOT_REPORTED: Final = -(2**31)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicMetadataRequest(Request[_MetadataStruct]):  # type: ignore[misc]
    """Requests metadata of topics with the authorized operations; creates no topic.

    Args:
        topics: Names of the topics.
    """

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker supports."""
        return request_struct_class(self._topics, False, True, True)


class _GroupStruct(RequestStruct):  # type: ignore[misc]
    """aiokafka has this version, but decodes its response as that of the version before."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class DescribeGroupRequest(Request[_GroupStruct]):  # type: ignore[misc]
    """Describes a group with the authorized operations; its coordinator answers.

    Args:
        group: Name of the group.
    """

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker supports."""
        return request_struct_class([self._group], True)


#: API key and first version of each request that reports authorized operations.
METADATA: Final[tuple[int, int]] = (3, 8)
DESCRIBE_GROUPS: Final[tuple[int, int]] = (15, 3)


def operations(bits: int) -> frozenset[Operation] | None:
    """The operations of a bit field; None if the broker does not report them."""
    if bits == _NOT_REPORTED:
        return None
    return frozenset(operation for operation in Operation if bits >> operation & 1)
