"""Checks of the topics."""

from dataclasses import replace

import pytest

from stream.doctor.facts import TopicFacts
from stream.doctor.topics import all_topics
from stream.kafka.rights import Operation
from tests.stream.doctor.cluster import ALL, SETTINGS, TOPICS, bad, changed, facts, topic


def test_topics_without_faults() -> None:
    """No check finds any."""
    assert not bad(all_topics(SETTINGS, facts()))


@pytest.mark.parametrize(
    ("topics", "level", "message"),
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
        (changed(TOPICS.outcomes, "retention.ms", "60000"), "warn", "outcomes keeps 0.0167 h"),
        (
            {TOPICS.examples: replace(topic(TOPICS.examples), partitions=2)},
            "warn",
            "training-examples has 2 partitions, bid-requests has 4",
        ),
        (changed(TOPICS.requests, "retention.ms", "60000"), "warn", "bid-requests keeps 0.0167 h"),
        (
            changed(TOPICS.control, "cleanup.policy", "delete"),
            "warn",
            "the values in force are deleted with age",
        ),
        (
            changed(TOPICS.passed, "cleanup.policy", "compact"),
            "fail",
            "only the last record of each key is kept",
        ),
        (
            changed(TOPICS.passed, "message.timestamp.type", "LogAppendTime"),
            "warn",
            "bid-requests-passed replaces timestamps",
        ),
        (
            changed(TOPICS.blocked, "message.timestamp.after.max.ms", "3600000"),
            "warn",
            "bid-requests-blocked refuses timestamps that bid-requests accepts",
        ),
        (
            changed(TOPICS.rejected, "max.message.bytes", "1000"),
            "warn",
            "bid-requests-rejected accepts 1000 bytes",
        ),
        (
            {TOPICS.passed: replace(topic(TOPICS.passed), in_sync=1)},
            "fail",
            "a write needs 2 in-sync replicas, a partition has 1",
        ),
        (
            changed(TOPICS.passed, "min.insync.replicas", "3"),
            "warn",
            "writes stop when one broker fails",
        ),
    ],
)
def test_each_fault_of_a_topic_is_found_with_its_fix(
    topics: dict[str, TopicFacts], level: str, message: str
) -> None:
    """One finding of the right level."""
    (found,) = bad(all_topics(SETTINGS, facts(topics)))
    assert (found.level, message in found.message) == (level, True), found
    assert found.fix


def test_topics_with_one_replica_are_one_finding() -> None:
    """On a single broker they are none."""
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
    assert found.message.startswith("only one replica of ")
    assert not bad(all_topics(SETTINGS, facts(alone, nodes=1)))


def test_what_a_broker_does_not_report_is_no_fault() -> None:
    """The embedded broker reports neither configuration nor authorized operations."""
    silent = {
        name: replace(topic(name), operations=None, config=None)
        for name in TOPICS.model_dump().values()
    }
    assert not bad(all_topics(SETTINGS, facts(silent)))
