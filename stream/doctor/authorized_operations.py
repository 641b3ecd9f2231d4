"""What aiokafka cannot ask: topics and groups with the rights that the client has (KIP-430)."""

from collections.abc import Sequence
from typing import Any

from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from stream.kafka.rights import Operation

#: What a broker answers that does not tell rights, or was not asked.
NOT_TOLD = -(2**31)


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


class TopicRights(Request[_MetadataStruct]):  # type: ignore[misc]
    """Metadata of some topics, none of them created by asking, with the client's rights.

    Args:
        topics: Their names.
    """

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: Any) -> Any:
        """The request as it goes over the wire."""
        return request_struct_class(self._topics, False, True, True)


class _GroupStruct(RequestStruct):  # type: ignore[misc]
    """aiokafka has it, but reads the answer as that of the version before."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class GroupRights(Request[_GroupStruct]):  # type: ignore[misc]
    """A group with the client's rights; to be asked of its coordinator.

    Args:
        group: Its name.
    """

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        """The request as it goes over the wire."""
        return request_struct_class([self._group], True)


#: Metadata from which version on rights are told, and groups from which version on.
METADATA: tuple[int, int] = (3, 8)
GROUPS: tuple[int, int] = (15, 3)


def operations(bits: int) -> frozenset[Operation] | None:
    """The operations in a bit field; None where the broker does not tell."""
    if bits == NOT_TOLD:
        return None
    return frozenset(operation for operation in Operation if bits >> operation & 1)
