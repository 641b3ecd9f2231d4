"""Checks of the topics: there, alike where they must be, kept long enough, writable."""

from collections.abc import Iterator
from typing import Final

from models.settings import Settings
from stream.doctor.facts import Facts, TopicFacts
from stream.doctor.finding import Finding, fail, ok, warn
from stream.kafka.rights import Operation, changelog

_HOUR_MS: Final = 3_600_000
#: Kafka's words for a topic that is kept by age or size, and by key.
_DELETE, _COMPACT = "delete", "compact"


def existence(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether they are there, with a leader for each partition."""
    there = 0
    for name, topic in facts.topics.items():
        if topic.missing and name != changelog(settings):  # that one is made when it is needed
            yield fail("topics", f"the topic {name} does not exist", "`weir topics` creates it")
        elif topic.leaderless:
            yield fail(
                "topics",
                f"{name}: {topic.leaderless} of {topic.partitions} partitions have no leader",
                "bring its brokers back",
            )
        elif topic.exists:
            there += 1
    yield ok("topics", f"{there} topics are there")


def partitions(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the partition counts fit each other."""
    topics, found = settings.topics, facts.topics
    requests = found.get(topics.requests)
    if requests is not None and requests.exists:
        for name in (topics.passed, topics.blocked, topics.rejected):
            output = found.get(name)
            if output is None or not output.exists or output.partitions >= requests.partitions:
                continue
            may = output.operations
            tell = fail if may is not None and Operation.ALTER not in may else warn
            yield tell(
                "partitions",
                f"{name} has {output.partitions} partitions, {topics.requests} has "
                f"{requests.partitions}: a request's output goes to the same number",
                f"`weir topics` grows it, or a worker with the right to Alter {name}",
            )
    for name in (topics.models, topics.control, topics.rate_state, topics.consumption):
        single = found.get(name)
        if single is not None and single.exists and single.partitions != 1:
            yield fail(
                "partitions",
                f"{name} has {single.partitions} partitions and must have one",
                f"delete it, and let `weir topics` create it (or name another topics.{name})",
            )


def retention(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether records are kept for as long as somebody may still need them."""
    topics, feedback = settings.topics, settings.feedback
    longest = max(task.window_s for task in settings.tasks) / feedback.time_scale
    window_ms = (longest + feedback.lateness_s) * 1000
    for name in (topics.passed, topics.outcomes, topics.joins):
        kept = _number(facts.topics.get(name), "retention.ms")
        if kept is not None and 0 <= kept < window_ms:
            yield warn(
                "retention",
                f"{name} keeps {_hours(kept)}, the longest attribution window with its lateness is "
                f"{_hours(window_ms)}: a feedback worker that was away loses what is older",
                f"set retention.ms of {name} to {window_ms:.0f} at least",
            )
    for name in (topics.requests, topics.examples):
        kept = _number(facts.topics.get(name), "retention.ms")
        if kept is not None and 0 <= kept < _HOUR_MS:
            yield warn(
                "retention",
                f"{name} keeps {_hours(kept)}: who is away longer than that loses records",
                f"set retention.ms of {name} to {_HOUR_MS} at least",
            )


def compaction(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether topics are kept by key, or by age, as they must be."""
    topics = settings.topics
    by_key = (topics.models, topics.control, topics.rate_state, changelog(settings))
    by_age = (topics.requests, topics.passed, topics.blocked, topics.rejected, topics.outcomes)
    for name in (*by_key, *by_age):
        policy = _config(facts.topics.get(name), "cleanup.policy")
        if policy is None:
            continue
        if name in by_key and _DELETE in policy:
            yield warn(
                "compaction",
                f"{name} has cleanup.policy {policy}: what is in force is forgotten with age",
                f"set cleanup.policy of {name} to compact",
            )
        if name in by_age and _COMPACT in policy:
            yield fail(
                "compaction",
                f"{name} has cleanup.policy {policy}: of records with one key the last stays",
                f"set cleanup.policy of {name} to delete",
            )


def timestamps(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether the outputs take and keep the timestamps that the requests may have."""
    topics = settings.topics
    source = facts.topics.get(topics.requests)
    for name in (topics.passed, topics.blocked, topics.rejected):
        output = facts.topics.get(name)
        if _config(output, "message.timestamp.type") == "LogAppendTime":
            yield warn(
                "timestamps",
                f"{name} replaces timestamps (LogAppendTime): `weir verify` calls all altered",
                f"set message.timestamp.type of {name} to CreateTime",
            )
        for key in ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"):
            takes, given = _number(output, key), _number(source, key)
            if takes is not None and given is not None and takes < given:
                yield warn(
                    "timestamps",
                    f"{name} refuses timestamps that {topics.requests} takes ({key} {takes:.0f}, "
                    f"there {given:.0f})",
                    f"set {key} of both alike",
                )


def sizes(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether an output takes what the input takes."""
    topics, key = settings.topics, "max.message.bytes"
    given = _number(facts.topics.get(topics.requests), key)
    for name in (topics.passed, topics.blocked, topics.rejected):
        takes = _number(facts.topics.get(name), key)
        if takes is not None and given is not None and takes < given:
            yield warn(
                "sizes",
                f"{name} takes {takes:.0f} bytes, {topics.requests} {given:.0f}: larger requests "
                "become truncated dead letters",
                f"set {key} of both alike",
            )


def replicas(_settings: Settings, facts: Facts) -> Iterator[Finding]:
    """Whether a broker may be lost without losing records, or the right to write."""
    alone, single = [], len(facts.server.nodes) == 1
    for name, topic in facts.topics.items():
        if not topic.exists:
            continue
        needed = _number(topic, "min.insync.replicas") or 1
        if topic.in_sync < needed:
            yield fail(
                "replicas",
                f"{name}: a write needs {needed:.0f} replicas in sync, a partition has "
                f"{topic.in_sync}",
                "bring its brokers back, or lower min.insync.replicas",
            )
        elif 1 < topic.replicas == needed:
            yield warn(
                "replicas",
                f"{name}: a write needs all {topic.replicas} replicas; one broker less stops it",
                f"set min.insync.replicas of {name} to {topic.replicas - 1}",
            )
        elif topic.replicas == 1:
            alone.append(name)
    if alone and not single:
        yield warn(
            "replicas",
            f"one copy only of {', '.join(alone)}: lost with its broker",
            "make them with a kafka.replication of 3",
        )
    if single:
        yield ok("replicas", "one broker: nothing is replicated")


CHECKS: Final = (existence, partitions, retention, compaction, timestamps, sizes, replicas)


def all_topics(settings: Settings, facts: Facts) -> list[Finding]:
    """What all of these find."""
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
