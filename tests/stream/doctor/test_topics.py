"""What each check finds in facts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from models.settings import Settings
from stream.doctor import access, local
from stream.doctor.facts import Facts, Newest, ResourceFacts, TopicFacts
from stream.doctor.finding import Finding, Level
from stream.doctor.topics import all_topics
from stream.kafka.connection import Server
from stream.kafka.rights import Operation, Role, rights_of

SETTINGS = Settings()
TOPICS = SETTINGS.topics
ALL = frozenset(Operation)
THREE = {number: f"broker-{number}:9092" for number in (1, 2, 3)}
SINGLE = {TOPICS.models, TOPICS.control, TOPICS.consumption, TOPICS.rate_state}
COMPACTED = {TOPICS.models, TOPICS.control, TOPICS.rate_state}
DAY_MS = 86_400_000


def topic(name: str) -> TopicFacts:
    """A topic as it should be."""
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


def facts(topics: Mapping[str, TopicFacts] | None = None, nodes: int = 3) -> Facts:
    """A cluster as it should be, but for some topics."""
    every = {name: topic(name) for name in TOPICS.model_dump().values()}
    return Facts(
        Server("broker-1:9092", dict(list(THREE.items())[:nodes]), {1: (4, 17), 22: (0, 5)}, 0.01),
        {**every, **(topics or {})},
        {"weir": ResourceFacts(operations=ALL), "weir-feedback": ResourceFacts(operations=ALL)},
        ResourceFacts(),
    )


def bad(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level is not Level.OK]


def test_a_cluster_as_it_should_be_has_no_fault() -> None:
    """For all roles, with both guarantees."""
    for guarantee in ("at-least-once", "exactly-once"):
        settings = SETTINGS.override({"worker.guarantee": guarantee})
        assert not bad(all_topics(settings, facts()))
        assert not bad(list(access.connection(settings, facts())))
        assert not bad(list(access.rights(settings, facts(), list(Role)[:3])))


def changed(name: str, key: str, value: str) -> dict[str, TopicFacts]:
    one = topic(name)
    return {name: replace(one, config={**(one.config or {}), key: value})}


@pytest.mark.parametrize(
    ("topics", "level", "told"),
    [
        ({TOPICS.passed: TopicFacts(3)}, "fail", "the topic bid-requests-passed does not exist"),
        (
            {TOPICS.passed: replace(topic(TOPICS.passed), leaderless=2)},
            "fail",
            "2 of 4 partitions have no leader",
        ),
        (
            {TOPICS.blocked: replace(topic(TOPICS.blocked), partitions=2)},
            "warn",
            "bid-requests-blocked has 2 partitions, bid-requests has 4",
        ),
        (
            {
                TOPICS.blocked: replace(
                    topic(TOPICS.blocked), partitions=2, operations=ALL - {Operation.ALTER}
                )
            },
            "fail",
            "bid-requests-blocked has 2 partitions, bid-requests has 4",
        ),
        (
            {TOPICS.models: replace(topic(TOPICS.models), partitions=4)},
            "fail",
            "models has 4 partitions and must have one",
        ),
        (
            changed(TOPICS.joins, "retention.ms", str(DAY_MS)),
            "warn",
            "feedback-joins keeps 24 h, the longest attribution window with its lateness is 7 days",
        ),
        (changed(TOPICS.requests, "retention.ms", "60000"), "warn", "bid-requests keeps 0.0167 h"),
        (changed(TOPICS.control, "cleanup.policy", "delete"), "warn", "is forgotten with age"),
        (changed(TOPICS.passed, "cleanup.policy", "compact"), "fail", "the last stays"),
        (
            changed(TOPICS.passed, "message.timestamp.type", "LogAppendTime"),
            "warn",
            "bid-requests-passed replaces timestamps",
        ),
        (
            changed(TOPICS.blocked, "message.timestamp.after.max.ms", "3600000"),
            "warn",
            "bid-requests-blocked refuses timestamps that bid-requests takes",
        ),
        (
            changed(TOPICS.rejected, "max.message.bytes", "1000"),
            "warn",
            "bid-requests-rejected takes 1000 bytes",
        ),
        (
            {TOPICS.passed: replace(topic(TOPICS.passed), in_sync=1)},
            "fail",
            "a write needs 2 replicas in sync, a partition has 1",
        ),
        (
            changed(TOPICS.passed, "min.insync.replicas", "3"),
            "warn",
            "one broker less stops it",
        ),
    ],
)
def test_each_fault_of_a_topic_is_told_with_its_fix(
    topics: dict[str, TopicFacts], level: str, told: str
) -> None:
    """One line, of the level that it deserves."""
    (found,) = bad(all_topics(SETTINGS, facts(topics)))
    assert (found.level, told in found.message) == (level, True), found
    assert found.fix


def test_one_copy_is_told_once_where_there_could_be_more() -> None:
    """On a single broker there is nothing to say."""
    alone = {
        name: replace(
            topic(name),
            replicas=1,
            in_sync=1,
            config={**(topic(name).config or {}), "min.insync.replicas": "1"},
        )
        for name in TOPICS.model_dump().values()
    }
    (found,) = bad(all_topics(SETTINGS, facts(alone)))
    assert found.message.startswith("one copy only of ")
    assert not bad(all_topics(SETTINGS, facts(alone, nodes=1)))


def test_what_a_broker_does_not_tell_is_no_fault() -> None:
    """Neither settings nor rights are told by the embedded broker."""
    silent = {
        name: replace(topic(name), operations=None, config=None)
        for name in TOPICS.model_dump().values()
    }
    told = facts(silent)
    told = replace(told, groups={name: ResourceFacts() for name in told.groups})
    assert not bad(all_topics(SETTINGS, told))
    found = list(access.rights(SETTINGS, told, [Role.INTERCEPT]))
    assert [f.message for f in found] == ["the broker does not tell who may do what"]


@pytest.mark.parametrize("role", [Role.INTERCEPT, Role.FEEDBACK, Role.TRAINER])
def test_every_right_of_a_role_is_looked_at(role: Role) -> None:
    """One that is missing is named with its resource, and what grants it."""
    settings = SETTINGS.override({"worker.guarantee": "exactly-once"})
    for right in rights_of(role, settings):
        if "changelog" in right.name:
            continue
        cluster = facts()
        if right.resource == "topic":
            lacking = replace(topic(right.name), operations=ALL - set(right.operations))
            cluster = facts({right.name: lacking})
        elif right.resource == "group":
            cluster = replace(cluster, groups={right.name: ResourceFacts(hidden=True)})
        else:
            cluster = replace(cluster, transactions=ResourceFacts(hidden=True))
        found = bad(list(access.rights(settings, cluster, [role])))
        assert found[0].level is (Level.WARN if right.without else Level.FAIL)
        assert repr(right.name) in found[0].message
        assert f"--{right.resource} {right.name}" in found[0].sentence


def test_exactly_once_needs_transactions() -> None:
    """A broker that gives out no producer ids has none."""
    settings = SETTINGS.override({"worker.guarantee": "exactly-once"})
    old = replace(facts(), server=Server("b:1", THREE, {1: (0, 3)}, 0.0))
    (found,) = bad(list(access.connection(settings, old)))
    assert "knows no transactions" in found.message


def test_an_address_that_nobody_reaches_is_told() -> None:
    """Clients go there after the first answer."""
    cluster = replace(facts(), nodes={"kafka:9092": "no such host", "here:9092": ""})
    found = list(access.nodes(SETTINGS, cluster))
    assert [f.level for f in found] == ["fail", "ok"]
    assert "advertised.listeners" in found[0].fix


@pytest.mark.parametrize(
    ("newest", "level", "told"),
    [
        (None, "ok", "nothing on bid-requests"),
        (Newest(1_000_000, by_broker=False), "ok", "is 0.0 s old by its producer's clock"),
        (Newest(940_000, by_broker=True), "ok", "is 60.0 s old by the broker's clock"),
        (Newest(1_030_000, by_broker=True), "warn", "30.0 s ahead of this machine"),
    ],
)
def test_clocks_are_compared_by_the_newest_request(
    newest: Newest | None, level: str, told: str
) -> None:
    """One ahead of this machine tells that one of the clocks is wrong."""
    cluster = replace(facts(), newest=newest, now_ms=1_000_000)
    (found,) = local.clock(SETTINGS, cluster)
    assert (found.level, told in found.message) == (level, True), found


def test_artifact_and_registry_are_looked_at(tmp_path: Path) -> None:
    """An artifact that is not there, or predicts other tasks; a registry that is not there."""
    absent = SETTINGS.override({"model.artifact": str(tmp_path / "absent")})
    (found,) = local.artifact(absent)
    assert (found.level, "fail open" in found.fix) == (Level.FAIL, True)
    (found,) = local.artifact(SETTINGS.override({"model.artifact": "pretrained:openrtb"}))
    assert found.level is Level.OK
    (found,) = local.registry(SETTINGS.override({"model.registry": str(tmp_path / "none")}))
    assert found.level is Level.WARN
    (found,) = local.registry(SETTINGS.override({"model.registry": "nosuch://bucket/x"}))
    assert found.level is Level.FAIL
    (found,) = local.registry(SETTINGS.override({"model.registry": str(tmp_path)}))
    assert found.level is Level.OK
