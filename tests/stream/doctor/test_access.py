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


def test_exactly_once_needs_transactions() -> None:
    """A broker without InitProducerId has none."""
    settings = SETTINGS.override({"worker.guarantee": "exactly-once"})
    old = replace(facts(), server=Server("b:1", THREE, {1: (0, 3)}, 0.0))
    (found,) = bad(list(access.connection(settings, old)))
    assert "does not support transactions" in found.message


def test_an_advertised_address_that_cannot_be_reached() -> None:
    """Clients connect there after the first answer."""
    cluster = replace(facts(), nodes={"kafka:9092": "no such host", "here:9092": ""})
    found = list(access.nodes(SETTINGS, cluster))
    assert [f.level for f in found] == ["fail", "ok"]
    assert "advertised.listeners" in found[0].fix
