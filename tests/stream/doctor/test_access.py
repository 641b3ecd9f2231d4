"""Checks of brokers and rights."""

from dataclasses import replace

import pytest

from stream.doctor import access
from stream.doctor.facts import ResourceFacts
from stream.doctor.finding import Level
from stream.kafka.connection import Server
from stream.kafka.rights import Role, rights_of
from tests.stream.doctor.cluster import ALL, SETTINGS, THREE, TOPICS, bad, facts, topic


def test_a_cluster_without_faults() -> None:
    """For all roles, with both guarantees."""
    for guarantee in ("at-least-once", "exactly-once"):
        settings = SETTINGS.override({"worker.guarantee": guarantee})
        assert not bad(list(access.connection(settings, facts())))
        assert not bad(list(access.rights(settings, facts(), list(Role)[:3])))


def test_rights_that_a_broker_does_not_report_are_no_fault() -> None:
    """The embedded broker does not report them."""
    silent = facts({n: replace(topic(n), operations=None) for n in TOPICS.model_dump().values()})
    silent = replace(silent, groups={name: ResourceFacts() for name in silent.groups})
    found = list(access.rights(SETTINGS, silent, [Role.INTERCEPT]))
    assert [f.message for f in found] == ["the broker does not report authorized operations"]


@pytest.mark.parametrize("role", [Role.INTERCEPT, Role.FEEDBACK, Role.TRAINER])
def test_every_right_of_a_role_is_checked(role: Role) -> None:
    """A missing right is named with its resource and the command that grants it."""
    settings = SETTINGS.override({"worker.guarantee": "exactly-once"})
    for right in rights_of(role, settings):
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


@pytest.mark.parametrize(
    ("versions", "missing"),
    [
        ({1: (0, 3)}, "[22, 28, 9]"),
        ({22: (0, 1), 28: (0, 2), 9: (0, 6)}, "[28, 9]"),  # Kafka 2.3
        ({22: (0, 3), 28: (0, 3), 9: (0, 6)}, "[9]"),
    ],
)
def test_exactly_once_needs_transactions_that_the_group_fences(
    versions: dict[int, tuple[int, int]], missing: str
) -> None:
    """A broker without producer ids has none; one before Kafka 2.5 fences by id only."""
    settings = SETTINGS.override({"worker.guarantee": "exactly-once"})
    old = replace(facts(), server=Server("b:1", THREE, versions, 0.0))
    (found,) = bad(list(access.connection(settings, old)))
    assert f"(KIP-447; requests {missing})" in found.message
    assert "Kafka 2.5" in found.fix
    at_least_once = SETTINGS.override({"worker.guarantee": "at-least-once"})
    assert not bad(list(access.connection(at_least_once, old)))


def test_an_advertised_address_that_cannot_be_reached() -> None:
    """Clients connect there after the first answer."""
    cluster = replace(facts(), nodes={"kafka:9092": "no such host", "here:9092": ""})
    found = list(access.nodes(SETTINGS, cluster))
    assert [f.level for f in found] == ["fail", "ok"]
    assert "advertised.listeners" in found[0].fix
