"""Checks of the way in: brokers, and the rights of the client there."""

from collections.abc import Iterator, Sequence
from typing import Final

from models.settings import Settings
from stream.doctor.facts import Facts, ResourceFacts, TopicFacts
from stream.doctor.finding import Finding, fail, ok, warn
from stream.kafka.client import principal
from stream.kafka.rights import Operation, Right, Role, grant, refusal, rights_of

#: Highest version of Fetch by the release that brought it.
_FETCH: Final = 1
_RELEASES: Final = ((18, "4.1"), (17, "3.9"), (16, "3.7"), (15, "3.5"), (13, "3.1"), (12, "2.7"))
_INIT_PRODUCER_ID: Final = 22


def connection(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """How the client is connected, as whom, and to what."""
    kafka, server = settings.kafka, facts.server
    login = f", {kafka.sasl_mechanism}" if kafka.security_protocol.startswith("SASL") else ""
    yield ok(
        "connection",
        f"{server.address} answers in {server.seconds * 1000:.0f} ms "
        f"({kafka.security_protocol}{login}) to {principal(kafka)}",
    )
    _, fetch = server.versions.get(_FETCH, (0, 0))
    release = next((name for version, name in _RELEASES if fetch >= version), "")
    spoken = f"speaks as Kafka {release} or newer" if release else f"speaks Fetch v{fetch} only"
    yield ok("version", f"{len(server.nodes)} brokers; {server.address} {spoken}")
    if settings.worker.guarantee == "exactly-once" and _INIT_PRODUCER_ID not in server.versions:
        yield fail(
            "version",
            f"{server.address} knows no transactions, and worker.guarantee is exactly-once",
            "use Apache Kafka, or set worker.guarantee to at-least-once",
        )


def nodes(_settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the brokers' own addresses can be reached from here."""
    for address, fault in facts.nodes.items():
        if fault:
            yield fail(
                "nodes",
                f"a broker wants to be reached at {address}, and cannot be: {fault}",
                "correct its advertised.listeners, or the network's names and rules",
            )
        else:
            yield ok("nodes", f"the broker at {address} can be reached")


def rights(settings: Settings, facts: Facts, roles: Sequence[Role]) -> Iterator[Finding]:
    """Whether the client may do what the roles do."""
    wanted = dict.fromkeys(right for role in roles for right in rights_of(role, settings))
    missing = 0
    needed_anyway = {(right.resource, right.name) for right in wanted if not right.without}
    for right in wanted:
        lacking = _lacking(right, facts)
        hidden = lacking == right.operations and _found(right, facts).hidden
        if right.without and hidden and (right.resource, right.name) in needed_anyway:
            continue  # said already
        if not lacking:
            continue
        missing += 1
        needed = Right(right.resource, right.name, lacking, right.prefixed)
        if right.without:
            yield warn(
                "rights", f"{_short(needed)}: {right.without}", grant(settings.kafka, needed)
            )
        else:
            yield fail("rights", refusal(settings.kafka, needed))
    told = any(topic.operations is not None for topic in facts.topics.values())
    if not told:
        yield ok("rights", "the broker does not tell who may do what")
    elif not missing:
        yield ok("rights", f"{principal(settings.kafka)} may do all that it has to")


def _found(right: Right, facts: Facts) -> TopicFacts | ResourceFacts:
    if right.resource == "topic":
        return facts.topics.get(right.name) or TopicFacts()
    if right.resource == "group":
        return facts.groups.get(right.name) or ResourceFacts()
    return facts.transactions or ResourceFacts()


def _lacking(right: Right, facts: Facts) -> tuple[Operation, ...]:
    """What the client may not do; of a topic that is missing, another check speaks."""
    found = _found(right, facts)
    if found.hidden:
        return right.operations
    if found.operations is None:
        return ()
    may = found.operations
    return tuple(operation for operation in right.operations if operation not in may)


def _short(right: Right) -> str:
    operations = " and ".join(operation.label for operation in right.operations)
    return f"no right to {operations} on {right.resource} {right.name!r}"
