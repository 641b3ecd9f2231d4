"""What the brokers and the disk tell: gathered once, for checks that only look at it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from stream.doctor.protocol import GROUPS, METADATA, GroupRights, TopicRights, operations
from stream.kafka.client import bounded_consumer, client_options, patiently
from stream.kafka.connection import ConnectionFaultError, Server, reach, try_server
from stream.kafka.rights import Operation, Role, rights_of, transactional_ids

#: For the newest request of each partition.
NEWEST_S: Final = 10.0
_GROUP, _TRANSACTION = 0, 1


@dataclass(frozen=True)
class TopicFacts:
    """One topic.

    Attributes:
        error: Kafka's error code, 0 for none.
        partitions: How many it has.
        leaderless: How many of them have no leader.
        replicas: Of the partition that has the fewest.
        in_sync: Replicas in sync, of the partition that has the fewest.
        operations: What the client may do with it; None where the broker does not tell.
        config: Its settings; None where the broker does not tell.
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
        """Whether it is there, and may be looked at."""
        return self.error == 0

    @property
    def hidden(self) -> bool:
        """Whether the client may not even look at it."""
        return bool(self.error == TopicAuthorizationFailedError.errno)

    @property
    def missing(self) -> bool:
        """Whether there is none."""
        return bool(self.error == UnknownTopicOrPartitionError.errno)


@dataclass(frozen=True)
class ResourceFacts:
    """A group, or the transactional ids.

    Attributes:
        hidden: Whether the client may not even look at it.
        operations: What it may do; None where the broker does not tell.
        trouble: Another error, empty for none.
    """

    hidden: bool = False
    operations: frozenset[Operation] | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Newest:
    """The newest request that was found.

    Attributes:
        timestamp_ms: Of the record.
        by_broker: Whether the broker stamped it.
    """

    timestamp_ms: int
    by_broker: bool


@dataclass(frozen=True)
class Facts:
    """All of it.

    Attributes:
        server: The bootstrap server that answered.
        topics: By name.
        groups: By name.
        transactions: The right to the transactional ids; None where no role needs it.
        nodes: What is wrong with the brokers' own addresses, empty where nothing is; by address.
        newest: The newest request; None where there is none, or it cannot be read.
        now_ms: The clock of this machine when that was read.
    """

    server: Server
    topics: Mapping[str, TopicFacts] = field(default_factory=dict)
    groups: Mapping[str, ResourceFacts] = field(default_factory=dict)
    transactions: ResourceFacts | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    newest: Newest | None = None
    now_ms: int = 0


async def gather_quickly(settings: Settings, roles: Sequence[Role]) -> Facts:
    """What a worker looks at before it starts: a handful of requests.

    Raises:
        ConnectionFaultError: If no broker can be used.
        KafkaError: If one stops answering.
    """
    server = await reach(settings.kafka)
    rights = [right for role in roles for right in rights_of(role, settings)]
    names = sorted({right.name for right in rights if right.resource == "topic"})
    groups = sorted({right.name for right in rights if right.resource == "group"})
    transactional = any(right.resource == "transactional-id" for right in rights)
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    try:
        await admin.start()
        topics = await _topics(admin, server, names)
        configs = await _configs(admin, [name for name in names if topics[name].exists])
        return Facts(
            server,
            {name: _with_config(facts, configs.get(name)) for name, facts in topics.items()},
            {name: await _group(admin, server, name) for name in groups},
            await _transactions(admin, transactional_ids(settings)) if transactional else None,
        )
    finally:
        await admin.close()


async def look_at_nodes(settings: Settings, server: Server) -> dict[str, str]:
    """What is wrong with each broker's own address, where clients go after the first answer."""
    wrong: dict[str, str] = {}
    for address in server.nodes.values():
        try:
            await try_server(settings.kafka, address)
        except ConnectionFaultError as fault:
            wrong[address] = str(fault)
        else:
            wrong[address] = ""
    return wrong


async def newest_request(settings: Settings, partitions: int) -> Newest | None:
    """The newest request at the ends of the partitions; None where there is none in time."""
    topic = settings.topics.requests
    if not partitions:
        return None
    consumer = bounded_consumer(settings.kafka)
    found: list[Newest] = []
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
                    found.append(Newest(last.timestamp, last.timestamp_type == 1))
    except (KafkaError, TimeoutError):
        pass  # what was found until then is enough
    finally:
        await consumer.stop()
    return max(found, key=lambda newest: newest.timestamp_ms, default=None)


async def _topics(
    admin: AIOKafkaAdminClient, server: Server, names: Sequence[str]
) -> dict[str, TopicFacts]:
    if _knows(server, METADATA):

        async def tell(admin: AIOKafkaAdminClient) -> Any:
            return await admin._send_request(TopicRights(names))  # noqa: SLF001 - no public way

        answer = await patiently(tell, admin)
        return {
            name: _topic(error, [(p[2], p[4], p[5]) for p in partitions], operations(bits))
            for error, name, _internal, partitions, bits in answer.topics
        }

    async def describe(admin: AIOKafkaAdminClient) -> Any:
        return await admin.describe_topics()  # asked by name, they might be created

    described = {topic["topic"]: topic for topic in await patiently(describe, admin)}
    unknown = TopicFacts(UnknownTopicOrPartitionError.errno)
    return {
        name: _topic(
            described[name]["error_code"],
            [(p["leader"], p["replicas"], p["isr"]) for p in described[name]["partitions"]],
            None,
        )
        if name in described
        else unknown
        for name in names
    }


def _topic(
    error: int,
    partitions: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    may: frozenset[Operation] | None,
) -> TopicFacts:
    return TopicFacts(
        error,
        len(partitions),
        sum(leader < 0 for leader, _, _ in partitions),
        min((len(replicas) for _, replicas, _ in partitions), default=0),
        min((len(in_sync) for _, _, in_sync in partitions), default=0),
        may,
    )


def _with_config(facts: TopicFacts, config: Mapping[str, str | None] | None) -> TopicFacts:
    return TopicFacts(
        facts.error, facts.partitions, facts.leaderless, facts.replicas, facts.in_sync,
        facts.operations, config,
    )  # fmt: skip


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """The settings of topics; of those that the broker does not tell, nothing."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}

    async def describe(admin: AIOKafkaAdminClient) -> Any:
        return await admin.describe_configs(resources)

    try:
        answers = await patiently(describe, admin)
    except KafkaError:
        return {}
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _message, _type, name, entries in answer.resources
        if code == 0
    }


async def _group(admin: AIOKafkaAdminClient, server: Server, name: str) -> ResourceFacts:
    async def describe(admin: AIOKafkaAdminClient) -> Any:
        node = await admin.find_coordinator(name, _GROUP)
        if not _knows(server, GROUPS):
            return None
        answer = await admin._send_request(GroupRights(name), node)  # noqa: SLF001 - no public way
        return answer.groups[0]

    try:
        told = await patiently(describe, admin)
    except GroupAuthorizationFailedError:
        return ResourceFacts(hidden=True)
    except KafkaError as error:
        return ResourceFacts(trouble=repr(error))
    if told is None:
        return ResourceFacts()
    code, *_, bits = told
    return ResourceFacts(
        hidden=code == GroupAuthorizationFailedError.errno,
        operations=operations(bits) if code == 0 else None,
    )


async def _transactions(admin: AIOKafkaAdminClient, prefix: str) -> ResourceFacts:
    """Whether the transactional ids may be looked at; no request tells whether they may be used."""

    async def find(admin: AIOKafkaAdminClient) -> int:
        return int(await admin.find_coordinator(f"{prefix}0", _TRANSACTION))

    try:
        await patiently(find, admin)
    except TransactionalIdAuthorizationFailed:
        return ResourceFacts(hidden=True)
    except KafkaError as error:
        return ResourceFacts(trouble=repr(error))
    return ResourceFacts()


def _knows(server: Server, request: tuple[int, int]) -> bool:
    key, version = request
    lowest, highest = server.versions.get(key, (0, -1))
    return lowest <= version <= highest
