"""Checks of the brokers' addresses and versions, and of the client's rights."""

from collections.abc import Iterator, Sequence
from typing import Final

from models.settings import Settings
from stream.doctor.facts import Facts, ResourceFacts, TopicFacts
from stream.doctor.finding import Finding, fail, ok, warn
from stream.kafka.client import principal
from stream.kafka.connection import Server
from stream.kafka.rights import Operation, Right, Role, grant, missing_right, rights_of
from stream.transport.output.group_requests import OFFSET_FETCH, TXN_OFFSET_COMMIT

_FETCH: Final = 1
#: Highest version of Fetch, and the first Kafka release that supports it.
_RELEASES: Final = ((18, "4.1"), (17, "3.9"), (16, "3.7"), (15, "3.5"), (13, "3.1"), (12, "2.7"))
_INIT_PRODUCER_ID: Final = (22, 0)
#: Key and version of the requests that exactly once needs.
_TRANSACTIONS: Final = (_INIT_PRODUCER_ID, TXN_OFFSET_COMMIT, OFFSET_FETCH)


def connection(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether a broker answers, as which user, and which Kafka release it is."""
    kafka, server = settings.kafka, facts.server
    login = f", {kafka.sasl_mechanism}" if kafka.security_protocol.startswith("SASL") else ""
    yield ok(
        "connection",
        f"{server.address} answers in {server.seconds * 1000:.0f} ms "
        f"({kafka.security_protocol}{login}) as {principal(kafka)}",
    )
    _, fetch = server.versions.get(_FETCH, (0, 0))
    release = next((name for version, name in _RELEASES if fetch >= version), "")
    protocol = f"the protocol of Kafka {release}" if release else f"Fetch v{fetch} only"
    yield ok("version", f"{len(server.nodes)} brokers; {server.address} supports {protocol}")
    missing = [key for key, version in _TRANSACTIONS if not _supports(server, key, version)]
    if settings.worker.guarantee == "exactly-once" and missing:
        yield fail(
            "version",
            f"{server.address} does not support transactions whose offsets the group fences "
            f"(KIP-447; requests {missing}), but worker.guarantee is exactly-once",
            "use Apache Kafka 2.5 or newer, or set worker.guarantee to at-least-once",
        )


def _supports(server: Server, key: int, version: int) -> bool:
    first, last = server.versions.get(key, (0, -1))
    return first <= version <= last


def nodes(_settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the brokers' advertised addresses can be reached from here."""
    for address, fault in facts.nodes.items():
        if fault:
            yield fail(
                "nodes",
                f"a broker advertises {address}, but cannot be reached there: {fault}",
                "correct its advertised.listeners, or the network's name resolution and firewalls",
            )
        else:
            yield ok("nodes", f"the broker at {address} can be reached")


def rights(settings: Settings, facts: Facts, roles: Sequence[Role]) -> Iterator[Finding]:
    """Whether the client has the rights that the roles need."""
    wanted = dict.fromkeys(right for role in roles for right in rights_of(role, settings))
    missing = 0
    required = {(right.resource, right.name) for right in wanted if not right.without}
    for right in wanted:
        lacking = _lacking(right, facts)
        hidden = lacking == right.operations and _found(right, facts).hidden
        if right.without and hidden and (right.resource, right.name) in required:
            continue  # reported with the required right
        if not lacking:
            continue
        missing += 1
        needed = Right(right.resource, right.name, lacking, right.prefixed)
        if right.without:
            yield warn(
                "rights", f"{_short(needed)}: {right.without}", grant(settings.kafka, needed)
            )
        else:
            yield fail("rights", missing_right(settings.kafka, needed))
    if all(topic.operations is None for topic in facts.topics.values()):
        yield ok("rights", "the broker does not report authorized operations")
    elif not missing:
        yield ok("rights", f"{principal(settings.kafka)} has all rights that it needs")


def _found(right: Right, facts: Facts) -> TopicFacts | ResourceFacts:
    if right.resource == "topic":
        return facts.topics.get(right.name) or TopicFacts()
    if right.resource == "group":
        return facts.groups.get(right.name) or ResourceFacts()
    return facts.transactions or ResourceFacts()


def _lacking(right: Right, facts: Facts) -> tuple[Operation, ...]:
    """The operations that are not authorized; a topic that is missing is for another check."""
    found = _found(right, facts)
    if found.hidden:
        return right.operations
    if found.operations is None:
        return ()
    authorized = found.operations
    return tuple(operation for operation in right.operations if operation not in authorized)


def _short(right: Right) -> str:
    operations = " and ".join(operation.label for operation in right.operations)
    return f"no right to {operations} on {right.resource} {right.name!r}"
