"""What a running Kafka cluster says about itself: live nodes, the active controller, leaders."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

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

from stream.kafka.client import patiently

T = TypeVar("T")
_REQUEST_MS: Final = 5_000
_QUORUM_TOPIC: Final = "__cluster_metadata"


def live_nodes(options: dict[str, Any]) -> set[int]:
    """Ids of the nodes that serve, as the node (or nodes) in ``bootstrap_servers`` know it.

    Args:
        options: Of an aiokafka client.

    Raises:
        KafkaError: If none answers.
    """

    async def ask(admin: AIOKafkaAdminClient) -> set[int]:
        return {broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]}

    return _asked(options, ask)


def active_controller(options: dict[str, Any]) -> int:
    """Id of the node that leads the quorum of controllers, -1 while there is none.

    Metadata does not tell: under KRaft it names any node as the controller.

    Args:
        options: Of an aiokafka client.

    Raises:
        KafkaError: If no node answers, or refuses the question.
    """

    async def ask(admin: AIOKafkaAdminClient) -> int:
        answer = await admin._send_request(_DescribeQuorum())  # noqa: SLF001 - no public way
        if answer.error_code:
            raise for_code(answer.error_code)
        ((_, ((_, code, leader, *_rest),), _tags),) = answer.topics
        if code:
            raise for_code(code)
        return int(leader)

    return _asked(options, ask)


def partition_leader(options: dict[str, Any], topic: str, partition: int) -> int:
    """Id of the node that leads a partition, -1 while there is none.

    Args:
        options: Of an aiokafka client.
        topic: Its topic.
        partition: Its number.

    Raises:
        KafkaError: If no node answers, or there is no such topic.
        KeyError: If the topic has no such partition.
    """

    async def ask(admin: AIOKafkaAdminClient) -> int:
        (found,) = await admin.describe_topics([topic])
        if found["error_code"]:
            raise for_code(found["error_code"])(topic)
        leaders = {each["partition"]: each["leader"] for each in found["partitions"]}
        return int(leaders[partition])

    return _asked(options, ask)


def _asked(
    options: dict[str, Any], ask: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, T]]
) -> T:
    """Ask in a thread and an event loop of its own: the caller may be inside a loop."""

    async def connected() -> T:
        admin = AIOKafkaAdminClient(**options, request_timeout_ms=_REQUEST_MS)
        try:
            await admin.start()
            return await patiently(ask, admin)
        finally:
            await admin.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, connected()).result()


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
