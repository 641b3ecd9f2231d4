"""Checks of the topics: existence, partition counts, retention, and other configuration."""

from collections.abc import Iterator
from typing import Final

from models.settings import Settings
from stream.doctor.facts import Facts, TopicFacts
from stream.doctor.finding import Finding, fail, ok, warn
from stream.kafka.rights import Operation

_HOUR_MS: Final = 3_600_000
#: Values of cleanup.policy.
_DELETE, _COMPACT = "delete", "compact"


def existence(_settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the topics exist, with a leader for each partition."""
    found = 0
    for name, topic in facts.topics.items():
        if topic.missing:
            yield fail("topics", f"the topic {name} does not exist", "`weir topics` creates it")
        elif topic.leaderless:
            yield fail(
                "topics",
                f"{name}: {topic.leaderless} of {topic.partitions} partitions have no leader",
                "restart the brokers that have replicas of them",
            )
        elif topic.exists:
            found += 1
    yield ok("topics", f"{found} topics exist")


def partitions(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the output topics have the partitions of the requests, and other topics have one."""
    topics, found = settings.topics, facts.topics
    requests = found.get(topics.requests)
    if requests is not None and requests.exists:
        for name in (topics.passed, topics.blocked, topics.rejected, topics.examples):
            output = found.get(name)
            if output is None or not output.exists or output.partitions >= requests.partitions:
                continue
            authorized = output.operations
            may_add = authorized is None or Operation.ALTER in authorized
            yield (warn if may_add else fail)(
                "partitions",
                f"{name} has {output.partitions} partitions, {topics.requests} has "
                f"{requests.partitions}: an output goes to the partition number of its request",
                f"add partitions with `weir topics`, or let a worker with Alter on {name} do it",
            )
        slots = found.get(topics.rate_summaries)
        if slots is not None and slots.exists and slots.partitions > requests.partitions:
            yield warn(
                "partitions",
                f"{topics.rate_summaries} has {slots.partitions} partitions, {topics.requests} has "
                f"{requests.partitions}: the owner of a partition of the requests coordinates that "
                "of the same number, so the others are not used",
                "nothing has to be done",
            )
    for name in (topics.models, topics.control, topics.rate_state, topics.consumption):
        single = found.get(name)
        if single is not None and single.exists and single.partitions != 1:
            yield fail(
                "partitions",
                f"{name} has {single.partitions} partitions and must have one",
                "delete it and let `weir topics` create it, or name another topic in [topics]",
            )


def retention(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether records are kept for as long as a reader may still need them."""
    topics = settings.topics
    for name in (topics.requests, topics.passed, topics.examples, topics.outcomes):
        kept = _number(facts.topics.get(name), "retention.ms")
        if kept is not None and 0 <= kept < _HOUR_MS:
            yield warn(
                "retention",
                f"{name} keeps {_hours(kept)}: a reader that is down for longer loses records",
                f"set retention.ms of {name} to at least {_HOUR_MS}",
            )


def compaction(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether state topics are compacted, and the others are not."""
    topics = settings.topics
    by_key = (topics.models, topics.control, topics.rate_state)
    by_age = (
        *(topics.requests, topics.passed, topics.blocked, topics.rejected, topics.outcomes),
        *(topics.rate_summaries, topics.journal),
    )
    for name in (*by_key, *by_age):
        policy = _config(facts.topics.get(name), "cleanup.policy")
        if policy is None:
            continue
        if name in by_key and _DELETE in policy:
            yield warn(
                "compaction",
                f"{name} has cleanup.policy {policy}: the values in force are deleted with age",
                f"set cleanup.policy of {name} to compact",
            )
        if name in by_age and _COMPACT in policy:
            yield fail(
                "compaction",
                f"{name} has cleanup.policy {policy}: only the last record of each key is kept",
                f"set cleanup.policy of {name} to delete",
            )


def timestamps(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the output topics accept and keep the timestamps of the requests."""
    topics = settings.topics
    source = facts.topics.get(topics.requests)
    for name in (topics.passed, topics.blocked, topics.rejected):
        output = facts.topics.get(name)
        if _config(output, "message.timestamp.type") == "LogAppendTime":
            yield warn(
                "timestamps",
                f"{name} replaces timestamps (LogAppendTime): `weir verify` reports all as altered",
                f"set message.timestamp.type of {name} to CreateTime",
            )
        for key in ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"):
            limit, needed = _number(output, key), _number(source, key)
            if limit is not None and needed is not None and limit < needed:
                yield warn(
                    "timestamps",
                    f"{name} refuses timestamps that {topics.requests} accepts ({key} {limit:.0f}, "
                    f"there {needed:.0f})",
                    f"set {key} of both to the same value",
                )


def sizes(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the output topics accept records as large as the request topic does."""
    topics, key = settings.topics, "max.message.bytes"
    needed = _number(facts.topics.get(topics.requests), key)
    for name in (topics.passed, topics.blocked, topics.rejected):
        limit = _number(facts.topics.get(name), key)
        if limit is not None and needed is not None and limit < needed:
            yield warn(
                "sizes",
                f"{name} accepts {limit:.0f} bytes, {topics.requests} {needed:.0f}: larger "
                "requests become truncated dead letters",
                f"set {key} of both to the same value",
            )


def replicas(_settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether one broker may fail without losing records or stopping writes."""
    alone, single = [], len(facts.server.nodes) == 1
    for name, topic in facts.topics.items():
        if not topic.exists:
            continue
        needed = _number(topic, "min.insync.replicas") or 1
        if topic.in_sync < needed:
            yield fail(
                "replicas",
                f"{name}: a write needs {needed:.0f} in-sync replicas, a partition has "
                f"{topic.in_sync}",
                "restart the brokers that are down, or lower min.insync.replicas",
            )
        elif 1 < topic.replicas == needed:
            yield warn(
                "replicas",
                f"{name}: a write needs all {topic.replicas} replicas, so writes stop when one "
                "broker fails",
                f"set min.insync.replicas of {name} to {topic.replicas - 1}",
            )
        elif topic.replicas == 1:
            alone.append(name)
    if alone and not single:
        yield warn(
            "replicas",
            f"only one replica of {', '.join(alone)}: its records are lost with its broker",
            "create them with kafka.replication 3",
        )
    if single:
        yield ok("replicas", "one broker, so nothing is replicated")


CHECKS: Final = (existence, partitions, retention, compaction, timestamps, sizes, replicas)


def all_topics(settings: Settings, facts: Facts) -> list[Finding]:
    """The findings of all checks of topics."""
    return [finding for check in CHECKS for finding in check(settings, facts)]


def _config(topic: TopicFacts | None, key: str) -> str | None:
    return None if topic is None or topic.config is None else topic.config.get(key)


def _number(topic: TopicFacts | None, key: str) -> float | None:
    value = _config(topic, key)
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _hours(ms: float) -> str:
    hours = ms / _HOUR_MS
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} h"
