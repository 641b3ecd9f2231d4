"""Reads the state of a running Kafka cluster: live nodes, active controller, partition leaders."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from stream.kafka.admin import Call, T, admin_request

_REQUEST_MS: Final = 5_000
_QUORUM_TOPIC: Final = "__cluster_metadata"


def live_nodes(options: dict[str, Any]) -> set[int]:
    """Ids of the nodes that are up, according to the nodes in ``bootstrap_servers``.

    Args:
        options: Options of an aiokafka client.

    Raises:
        KafkaError: If no node answers.
    """

    async def call(client: AIOKafkaAdminClient) -> set[int]:
        return {broker["node_id"] for broker in (await client.describe_cluster())["brokers"]}

    return _request(options, call)


def active_controller(options: dict[str, Any]) -> int:
    """Id of the node that leads the controller quorum, -1 while there is none.

    The cluster metadata does not have it: under KRaft it names any node as the controller.

    Args:
        options: Options of an aiokafka client.

    Raises:
        KafkaError: If no node answers, or the request fails.
    """

    async def call(client: AIOKafkaAdminClient) -> int:
        answer = await client._send_request(_DescribeQuorum())  # noqa: SLF001 - no public way
        if answer.error_code:
            raise for_code(answer.error_code)
        ((_, ((_, code, leader, *_rest),), _tags),) = answer.topics
        if code:
            raise for_code(code)
        return int(leader)

    return _request(options, call)


def partition_leader(options: dict[str, Any], topic: str, partition: int) -> int:
    """Id of the node that leads a partition, -1 while there is none.

    Args:
        options: Options of an aiokafka client.
        topic: Name of the topic.
        partition: Number of the partition.

    Raises:
        KafkaError: If no node answers, or there is no such topic.
        KeyError: If the topic has no such partition.
    """

    async def call(client: AIOKafkaAdminClient) -> int:
        (found,) = await client.describe_topics([topic])
        if found["error_code"]:
            raise for_code(found["error_code"])(topic)
        leaders = {each["partition"]: each["leader"] for each in found["partitions"]}
        return int(leaders[partition])

    return _request(options, call)


def _request(options: dict[str, Any], call: Call[T]) -> T:
    """Send a request from a thread with its own event loop: the caller may run inside a loop."""
    request = admin_request(options | {"request_timeout_ms": _REQUEST_MS}, call)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, request).result()


_REPLICAS = CompactArray(("replica_id", Int32), ("log_end_offset", Int64), ("tags", TaggedFields))


class _DescribeQuorumResponse(Response):  # type: ignore[misc]
    API_KEY = 55
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("current_voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeQuorumStruct(RequestStruct):  # type: ignore[misc]
    """Version 0 of the request (KIP-595), which aiokafka does not have."""

    API_KEY = 55
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _DescribeQuorumResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeQuorum(Request[_DescribeQuorumStruct]):  # type: ignore[misc]
    API_KEY = 55

    def build(self, request_struct_class: type[_DescribeQuorumStruct]) -> _DescribeQuorumStruct:
        return request_struct_class([(_QUORUM_TOPIC, [(0, {})], {})], {})
