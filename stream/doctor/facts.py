"""The state of the cluster that the checks evaluate, gathered once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
)

from models.settings import Settings
from stream.doctor.authorized_operations import (
    DESCRIBE_GROUPS,
    METADATA,
    DescribeGroupRequest,
    TopicMetadataRequest,
    operations,
)
from stream.kafka.admin import Admin
from stream.kafka.client import bounded_consumer, client_options
from stream.kafka.connection import ConnectionFaultError, Server, reach, try_server
from stream.kafka.rights import Operation, Role, rights_of, transactional_ids

#: Limit for reading the newest request of every partition.
NEWEST_S: Final = 10.0
_GROUP, _TRANSACTION = 0, 1


@dataclass(frozen=True)
class TopicFacts:
    """State of one topic.

    Attributes:
        error: Kafka's error code, 0 for none.
        partitions: Number of partitions.
        leaderless: Number of partitions without a leader.
        replicas: Replicas of the partition that has the fewest.
        in_sync: In-sync replicas of the partition that has the fewest.
        operations: Operations that the client is authorized for; None if the broker does not
            report them.
        config: Its configuration; None if the broker does not report it.
    """

    error: int = 0
    partitions: int = 0
    leaderless: int = 0
    replicas: int = 0
    in_sync: int = 0
    operations: frozenset[Operation] | None = None
    config: Mapping[str, str | None] | None = None

    @property
    def exists(self) -> bool:
        """Whether it exists and the client may describe it."""
        return self.error == 0

    @property
    def hidden(self) -> bool:
        """Whether the client has no right to describe it."""
        return bool(self.error == TopicAuthorizationFailedError.errno)

    @property
    def missing(self) -> bool:
        """Whether it does not exist."""
        return bool(self.error == UnknownTopicOrPartitionError.errno)


@dataclass(frozen=True)
class ResourceFacts:
    """The client's rights to a group, or to the transactional ids.

    Attributes:
        hidden: Whether the client has no right to describe it.
        operations: Operations that the client is authorized for; None if the broker does not
            report them.
    """

    hidden: bool = False
    operations: frozenset[Operation] | None = None


@dataclass(frozen=True)
class NewestRequest:
    """Timestamp of the newest request.

    Attributes:
        timestamp_ms: Timestamp of the record.
        by_broker: Whether the broker set it (LogAppendTime).
    """

    timestamp_ms: int
    by_broker: bool


@dataclass(frozen=True)
class Facts:
    """State of the cluster, as far as the roles need it.

    Attributes:
        server: The bootstrap server that answered.
        topics: State of each topic, by name.
        groups: Rights to each group, by name.
        transactions: Rights to the transactional ids; None if no role needs them.
        nodes: Fault of each advertised broker address, empty if it can be reached; by address.
        newest: The newest request; None if there is none, or it cannot be read.
        now_ms: This machine's clock when that was read.
    """

    server: Server
    topics: Mapping[str, TopicFacts] = field(default_factory=dict)
    groups: Mapping[str, ResourceFacts] = field(default_factory=dict)
    transactions: ResourceFacts | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    newest: NewestRequest | None = None
    now_ms: int = 0


async def gather_facts(settings: Settings, roles: Sequence[Role]) -> Facts:
    """All facts but ``nodes`` and ``newest``, with a few requests: fast enough for every start.

    Raises:
        ConnectionFaultError: If no broker can be used.
        KafkaError: If a broker stops answering.
    """
    server = await reach(settings.kafka)
    rights = [right for role in roles for right in rights_of(role, settings)]
    names = sorted({right.name for right in rights if right.resource == "topic"})
    groups = sorted({right.name for right in rights if right.resource == "group"})
    transactional = any(right.resource == "transactional-id" for right in rights)
    async with Admin(client_options(settings.kafka)) as admin:
        topics = await _topics(admin, server, names)
        configs = await _configs(admin, [name for name in names if topics[name].exists])
        return Facts(
            server,
            {name: replace(facts, config=configs.get(name)) for name, facts in topics.items()},
            {name: await _group(admin, server, name) for name in groups},
            await _transactions(admin, transactional_ids(settings)) if transactional else None,
        )


async def check_nodes(settings: Settings, server: Server) -> dict[str, str]:
    """Connect to each advertised address, as clients do after the first answer; faults by address.

    The fault of an address that can be reached is empty.
    """
    faults: dict[str, str] = {}
    for address in server.nodes.values():
        try:
            await try_server(settings.kafka, address)
        except ConnectionFaultError as fault:
            faults[address] = str(fault)
        else:
            faults[address] = ""
    return faults


async def newest_request(settings: Settings, partitions: int) -> NewestRequest | None:
    """The newest of the last records of all partitions; None if there is none, or no answer."""
    topic = settings.topics.requests
    if not partitions:
        return None
    consumer = bounded_consumer(settings.kafka)
    found: list[NewestRequest] = []
    try:
        await consumer.start()
        everywhere = [TopicPartition(topic, number) for number in range(partitions)]
        ends = await consumer.end_offsets(everywhere)
        filled = [tp for tp in everywhere if ends[tp] > 0]
        consumer.assign(filled)
        for tp in filled:
            consumer.seek(tp, ends[tp] - 1)
        async with asyncio.timeout(NEWEST_S):
            while filled and len(found) < len(filled):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    last = records[-1]
                    found.append(NewestRequest(last.timestamp, last.timestamp_type == 1))
    except (KafkaError, TimeoutError):
        pass  # the records that were read until then are enough
    finally:
        await consumer.stop()
    return max(found, key=lambda newest: newest.timestamp_ms, default=None)


async def _topics(admin: Admin, server: Server, names: Sequence[str]) -> dict[str, TopicFacts]:
    if _supports(server, METADATA):

        async def metadata(client: AIOKafkaAdminClient) -> Any:
            request = TopicMetadataRequest(names)
            return await client._send_request(request)  # noqa: SLF001 - no public way

        answer = await admin.request(metadata)
        return {
            name: _topic(error, [(p[2], p[4], p[5]) for p in partitions], operations(bits))
            for error, name, _internal, partitions, bits in answer.topics
        }

    described = await admin.partitions()
    missing = TopicFacts(UnknownTopicOrPartitionError.errno)
    return {
        name: _topic(0, [(p["leader"], p["replicas"], p["isr"]) for p in described[name]], None)
        if name in described
        else missing
        for name in names
    }


def _topic(
    error: int,
    partitions: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    authorized: frozenset[Operation] | None,
) -> TopicFacts:
    return TopicFacts(
        error,
        len(partitions),
        sum(leader < 0 for leader, _, _ in partitions),
        min((len(replicas) for _, replicas, _ in partitions), default=0),
        min((len(in_sync) for _, _, in_sync in partitions), default=0),
        authorized,
    )


async def _configs(admin: Admin, names: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """The configuration of each topic whose configuration the broker reports."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}

    async def describe(client: AIOKafkaAdminClient) -> Any:
        return await client.describe_configs(resources)

    try:
        answers = await admin.request(describe)
    except KafkaError:
        return {}
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _message, _type, name, entries in answer.resources
        if code == 0
    }


async def _group(admin: Admin, server: Server, name: str) -> ResourceFacts:
    async def describe(client: AIOKafkaAdminClient) -> Any:
        node = await client.find_coordinator(name, _GROUP)
        if not _supports(server, DESCRIBE_GROUPS):
            return None
        request = DescribeGroupRequest(name)
        answer = await client._send_request(request, node)  # noqa: SLF001 - no public way
        return answer.groups[0]

    try:
        described = await admin.request(describe)
    except GroupAuthorizationFailedError:
        return ResourceFacts(hidden=True)
    except KafkaError:
        return ResourceFacts()  # not known, which is no fault
    if described is None:
        return ResourceFacts()
    code, *_, bits = described
    return ResourceFacts(
        hidden=code == GroupAuthorizationFailedError.errno,
        operations=operations(bits) if code == 0 else None,
    )


async def _transactions(admin: Admin, prefix: str) -> ResourceFacts:
    """Whether the client may describe the transactional ids; no request reports Write on them."""

    async def find(client: AIOKafkaAdminClient) -> int:
        return int(await client.find_coordinator(f"{prefix}0", _TRANSACTION))

    try:
        await admin.request(find)
    except TransactionalIdAuthorizationFailed:
        return ResourceFacts(hidden=True)
    except KafkaError:
        pass  # not known, which is no fault: the embedded broker has no transactions
    return ResourceFacts()


def _supports(server: Server, request: tuple[int, int]) -> bool:
    key, version = request
    lowest, highest = server.versions.get(key, (0, -1))
    return lowest <= version <= highest
