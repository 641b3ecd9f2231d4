"""A cluster without faults, as facts for the checks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from models.settings import Settings
from stream.doctor.facts import Facts, ResourceFacts, TopicFacts
from stream.doctor.finding import Finding, Level
from stream.kafka.connection import Server
from stream.kafka.rights import Operation

SETTINGS = Settings()
TOPICS = SETTINGS.topics
ALL = frozenset(Operation)
THREE = {number: f"broker-{number}:9092" for number in (1, 2, 3)}
SINGLE = {TOPICS.models, TOPICS.control, TOPICS.consumption, TOPICS.rate_state}
COMPACTED = {TOPICS.models, TOPICS.control, TOPICS.rate_state}
DAY_MS = 86_400_000


def topic(name: str) -> TopicFacts:
    """A topic without faults."""
    config = {
        "retention.ms": str(30 * DAY_MS),
        "cleanup.policy": "compact" if name in COMPACTED else "delete",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "max.message.bytes": "1048588",
        "min.insync.replicas": "2",
    }
    return TopicFacts(0, 1 if name in SINGLE else 4, 0, 3, 3, ALL, config)


#: Of Kafka 4.1: Fetch, OffsetFetch, InitProducerId, TxnOffsetCommit.
VERSIONS = {1: (4, 17), 9: (1, 9), 22: (0, 5), 28: (0, 5)}


def facts(topics: Mapping[str, TopicFacts] | None = None, nodes: int = 3) -> Facts:
    """A cluster without faults, but for some topics."""
    every = {name: topic(name) for name in TOPICS.model_dump().values()}
    return Facts(
        Server("broker-1:9092", dict(list(THREE.items())[:nodes]), VERSIONS, 0.01),
        {**every, **(topics or {})},
        {"weir": ResourceFacts(operations=ALL), "weir-feedback": ResourceFacts(operations=ALL)},
        ResourceFacts(),
    )


def bad(found: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level is not Level.OK]


def changed(name: str, key: str, value: str) -> dict[str, TopicFacts]:
    one = topic(name)
    return {name: replace(one, config={**(one.config or {}), key: value})}
