"""The output topics on the brokers: their partitions, their limits, and why writes may be slow.

A sink reads them at its start, and again when partitions are assigned: outputs go to the source's
partition number, so the output topics need at least as many partitions as the input topic, which
may have grown. Missing partitions are added if the client is allowed to. A missing topic is not
created: writes wait for it, because it may have been deleted on purpose.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from models.errors import UserError
from stream.kafka.admin import Admin, admin_request
from stream.transport.chunk import Record, RecordsRefusedError
from stream.transport.output.batching import MAX_BATCH_BYTES, MIN_BATCH_BYTES

logger = logging.getLogger(__name__)

DIAGNOSE_S: Final = 10.0
NO_TIMESTAMP: Final = -1  # every topic accepts a record without a timestamp
_UNBOUNDED: Final = 2**62  # ms; brokers return 2**63 - 1


class BatchLimitError(UserError):
    """A topic accepts only batches that are too small."""


class PartitionsError(UserError, RuntimeError):
    """An output topic has too few partitions, and they cannot be added."""


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What a topic accepts according to its configuration.

    Attributes:
        batch_bytes: Maximum size of a batch.
        before_ms: Maximum time of a timestamp behind the broker's clock.
        after_ms: Maximum time of a timestamp ahead of it.
        append_time: Whether the broker replaces timestamps with its own time.
        in_sync: Replicas that must acknowledge a write.
    """

    batch_bytes: int = MAX_BATCH_BYTES
    before_ms: int = _UNBOUNDED
    after_ms: int = _UNBOUNDED
    append_time: bool = False
    in_sync: int = 1

    @classmethod
    def of(cls, config: Mapping[str, str | None]) -> "TopicLimits":
        """Limits from a topic's configuration; a missing entry means the broker's default."""
        both = config.get("message.timestamp.difference.max.ms")  # before Kafka 3.6
        return cls(
            min(MAX_BATCH_BYTES, int(config.get("max.message.bytes") or MAX_BATCH_BYTES)),
            int(config.get("message.timestamp.before.max.ms") or both or _UNBOUNDED),
            int(config.get("message.timestamp.after.max.ms") or both or _UNBOUNDED),
            config.get("message.timestamp.type") == "LogAppendTime",
            int(config.get("min.insync.replicas") or 1),
        )

    def refused(self, records: Sequence[Record], now_ms: int) -> list[int]:
        """Indices of the records whose timestamps the topic does not accept now."""
        if self.append_time or (self.before_ms >= _UNBOUNDED and self.after_ms >= _UNBOUNDED):
            return []
        first, last = now_ms - self.before_ms, now_ms + self.after_ms
        stamps = [record.timestamp for record in records]
        if not stamps or (min(stamps) >= first and max(stamps) <= last):
            return []
        return [i for i, at in enumerate(stamps) if not first <= at <= last and at != NO_TIMESTAMP]


class OutputTopics:
    """The topics that a sink writes to.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        topics: Their names.
    """

    def __init__(self, client: Mapping[str, Any], topics: Iterable[str]) -> None:
        self._client = dict(client)
        self.topics = tuple(topics)
        self._limits: dict[str, TopicLimits] = {}

    @property
    def batch_bytes(self) -> int:
        """Maximum size of a batch that all of them accept."""
        return min((x.batch_bytes for x in self._limits.values()), default=MAX_BATCH_BYTES)

    async def start(self) -> None:
        """Read their limits.

        If the brokers do not return them (the embedded broker; no DescribeConfigs permission), the
        defaults are assumed.

        Raises:
            BatchLimitError: If a topic accepts less than `MIN_BATCH_BYTES`.
            KafkaError: If no broker answers.
        """
        if not self.topics:
            return
        configurations = await _configurations(self._client, self.topics)
        self._limits = {topic: TopicLimits.of(each) for topic, each in configurations.items()}
        for topic, limits in self._limits.items():
            if limits.batch_bytes < MIN_BATCH_BYTES:
                raise BatchLimitError(
                    f"{topic}: its max.message.bytes is {limits.batch_bytes}; raise it to "
                    f"{MIN_BATCH_BYTES} at least, so that every record fits, truncated if need be"
                )
            if limits.append_time:
                logger.warning(
                    "%s: message.timestamp.type is LogAppendTime, so the broker replaces the "
                    "timestamps of the requests",
                    topic,
                )

    def check(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Check that a topic accepts the timestamps of records.

        Raises:
            RecordsRefusedError: If it does not accept some.
        """
        limits = self._limits.get(topic)
        if limits is None:
            return
        indices = limits.refused(records, int(time.time() * 1000))
        if indices:
            why = (
                f"timestamp {records[indices[0]].timestamp}: the topic accepts those from "
                f"{limits.before_ms} ms ago to {limits.after_ms} ms ahead "
                "(message.timestamp.before.max.ms, message.timestamp.after.max.ms)"
            )
            raise RecordsRefusedError(topic, partition, indices, why)

    async def fit(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Check that every existing topic has these partition numbers; add the missing ones.

        Raises:
            PartitionsError: If they cannot be added.
            KafkaError: If no broker answers.
        """
        count = max((number for _, number in partitions), default=-1) + 1
        if count and self.topics:
            found = await self._describe()
            await self._add_partitions(
                {t: count for t in self.topics if 0 < len(found.get(t, {})) < count}
            )

    async def _add_partitions(self, short: Mapping[str, int]) -> None:
        for topic, count in short.items():

            async def create(
                admin: AIOKafkaAdminClient, topic: str = topic, count: int = count
            ) -> object:
                return await admin.create_partitions({topic: NewPartitions(count)})

            try:
                await admin_request(self._client, create)
            except KafkaError as error:
                found = len((await self._describe()).get(topic, {}))
                if found < count:
                    raise PartitionsError(
                        f"{topic} has {found} partitions, the requests have {count}, and adding "
                        f"them failed ({error}): run `weir topics` with the right to alter it, or "
                        f"kafka-topics.sh --alter --topic {topic} --partitions {count}"
                    ) from error
            logger.warning("%s: now has %d partitions, as many as the input topic", topic, count)

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which input partitions were filtered before: an output topic has records of their number.

        Raises:
            KafkaError: If the brokers do not answer.
        """
        wanted, found = set(partitions), await self._describe()
        outputs = {
            TopicPartition(topic, number)
            for topic in self.topics
            for _, number in wanted
            if number in found.get(topic, {})
        }
        if not outputs:
            return set()

        consumer = AIOKafkaConsumer(**self._client, enable_auto_commit=False)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(list(outputs))
        finally:
            await consumer.stop()
        written = {tp.partition for tp, end in ends.items() if end > 0}
        return {(topic, number) for topic, number in wanted if number in written}

    async def diagnose(self, wanted: Mapping[str, int]) -> dict[str, str]:
        """Why writes may be slow; missing partitions are added.

        Args:
            wanted: The highest partition number that is written to, by topic.

        Returns:
            The reason, by topic.
        """
        try:
            async with asyncio.timeout(DIAGNOSE_S):
                found = await self._describe()
                short = {t: n + 1 for t, n in wanted.items() if 0 < len(found.get(t, {})) <= n}
                if addable := {t: n for t, n in short.items() if t in self.topics}:
                    await self._add_partitions(addable)
        except PartitionsError as error:
            return dict.fromkeys(short, str(error))
        except (KafkaError, TimeoutError, OSError) as error:
            return dict.fromkeys(wanted, f"no broker answers ({error!r})")
        return {topic: self._reason(topic, found.get(topic), n) for topic, n in wanted.items()}

    def _reason(self, topic: str, partitions: Mapping[int, Any] | None, number: int) -> str:
        if not partitions:
            return "the topic does not exist; `weir topics` creates it, and then writes continue"
        if number not in partitions:
            return f"it has {len(partitions)} partitions, and partition {number} is written to"
        if led := sorted(n for n, p in partitions.items() if p["leader"] < 0):
            return f"partitions {led} have no leader; are enough brokers up?"
        least = self._limits.get(topic, TopicLimits()).in_sync
        if few := sorted(n for n, p in partitions.items() if len(p["isr"]) < least):
            return f"partitions {few} have fewer in-sync replicas than min.insync.replicas, {least}"
        return "the brokers give no reason (slow, overloaded, or enforcing a quota of this client)"

    async def _describe(self) -> dict[str, dict[int, Any]]:
        """The partitions of all existing topics, by topic and number."""
        async with Admin(self._client) as admin:
            found = await admin.partitions()
        return {name: {p["partition"]: p for p in partitions} for name, partitions in found.items()}


async def _configurations(
    client: Mapping[str, Any], topics: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """The configuration of each topic that the brokers return."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]

    async def describe(admin: AIOKafkaAdminClient) -> Any:
        return await admin.describe_configs(resources)

    try:
        answers = await admin_request(client, describe)
    except KafkaError as error:
        if error.retriable:
            raise
        logger.info("the limits of the topics are unknown, assuming the defaults: %r", error)
        return {}
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for _code, _message, _type, name, entries in answer.resources
    }
