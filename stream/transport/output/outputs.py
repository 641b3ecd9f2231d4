"""The output topics as the brokers have them: their partitions, their limits, and what ails them.

A sink asks at its start, and again when the partitions are assigned: the input may have grown, and
outputs go to the source's partition number, so the output topics must have as many. They are grown
where the brokers let us; a topic that is missing is waited for, since whoever deleted it knows why.
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
from stream.kafka.admin import admin_request
from stream.transport.chunk import Record, RecordsRefusedError
from stream.transport.output.batches import MAX_BATCH_BYTES, MIN_BATCH_BYTES

logger = logging.getLogger(__name__)

ASK: Final = 20  # times
ASK_EVERY_S: Final = 0.5
NO_TIMESTAMP: Final = -1  # of a record that has none; every topic takes it
_UNBOUNDED: Final = 2**62  # ms; brokers say 2**63 - 1


class BatchLimitError(UserError):
    """A topic takes batches too small to be of use."""


class PartitionsError(UserError, RuntimeError):
    """An output topic has too few partitions, and they cannot be added."""


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """What a topic takes, as its configuration says.

    Attributes:
        batch_bytes: Largest batch.
        before_ms: How far a timestamp may lie behind the broker's clock.
        after_ms: How far ahead of it.
        append_time: Whether the broker puts its own time in place of the timestamp.
        in_sync: Replicas that must have a write.
    """

    batch_bytes: int = MAX_BATCH_BYTES
    before_ms: int = _UNBOUNDED
    after_ms: int = _UNBOUNDED
    append_time: bool = False
    in_sync: int = 1

    @classmethod
    def of(cls, told: Mapping[str, str | None]) -> "TopicLimits":
        """Limits from a topic's configuration; what is not told is as in a broker by default."""
        both = told.get("message.timestamp.difference.max.ms")  # before Kafka 3.6
        return cls(
            min(MAX_BATCH_BYTES, int(told.get("max.message.bytes") or MAX_BATCH_BYTES)),
            int(told.get("message.timestamp.before.max.ms") or both or _UNBOUNDED),
            int(told.get("message.timestamp.after.max.ms") or both or _UNBOUNDED),
            told.get("message.timestamp.type") == "LogAppendTime",
            int(told.get("min.insync.replicas") or 1),
        )

    def refused(self, records: Sequence[Record], now_ms: int) -> list[int]:
        """Indices of the records whose timestamps the topic does not take now."""
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
        """Largest batch that all of them take."""
        return min((x.batch_bytes for x in self._limits.values()), default=MAX_BATCH_BYTES)

    async def start(self) -> None:
        """Ask for their limits.

        Brokers that do not tell (the embedded one; a missing DescribeConfigs permission) are taken
        to have the defaults.

        Raises:
            BatchLimitError: If a topic takes less than `MIN_BATCH_BYTES`.
            KafkaError: If no broker answers.
        """
        if not self.topics:
            return
        told = await _configurations(self._client, self.topics)
        self._limits = {topic: TopicLimits.of(found) for topic, found in told.items()}
        for topic, limits in self._limits.items():
            if limits.batch_bytes < MIN_BATCH_BYTES:
                raise BatchLimitError(
                    f"{topic}: its max.message.bytes is {limits.batch_bytes}; raise it to "
                    f"{MIN_BATCH_BYTES} at least, so that something of every record fits"
                )
            if limits.append_time:
                logger.warning(
                    "%s: message.timestamp.type is LogAppendTime, so the broker puts its own time "
                    "in place of the requests' timestamps",
                    topic,
                )

    def check(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """See that a topic takes the timestamps of records.

        Raises:
            RecordsRefusedError: If it does not take some.
        """
        limits = self._limits.get(topic)
        if limits is None:
            return
        indices = limits.refused(records, int(time.time() * 1000))
        if indices:
            why = (
                f"timestamp {records[indices[0]].timestamp}: the topic takes those from "
                f"{limits.before_ms} ms ago to {limits.after_ms} ms ahead "
                "(message.timestamp.before.max.ms, message.timestamp.after.max.ms)"
            )
            raise RecordsRefusedError(topic, partition, indices, why)

    async def fit(self, partitions: Iterable[tuple[str, int]]) -> None:
        """See that every topic that exists has the partitions of these numbers; add them if not.

        Raises:
            PartitionsError: If the brokers refuse to add them.
            KafkaError: If no broker answers.
        """
        count = max((number for _, number in partitions), default=-1) + 1
        if count and self.topics:
            found = await self._describe()
            await self._grow({t: count for t in self.topics if 0 < len(found.get(t, {})) < count})

    async def _grow(self, short: Mapping[str, int]) -> None:
        for topic, count in short.items():

            async def question(
                admin: AIOKafkaAdminClient, topic: str = topic, count: int = count
            ) -> object:
                return await admin.create_partitions({topic: NewPartitions(count)})

            try:
                await admin_request(self._client, question)
            except KafkaError as error:
                found = len((await self._describe()).get(topic, {}))
                if found < count:
                    raise PartitionsError(
                        f"{topic} has {found} partitions, the requests have {count}, and adding "
                        f"them failed ({error}): run `weir topics` with the right to alter it, or "
                        f"kafka-topics.sh --alter --topic {topic} --partitions {count}"
                    ) from error
            logger.warning("%s: grown to the %d partitions of the requests", topic, count)

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which input partitions have been filtered: an output topic has records of their number.

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

    async def ailments(self, wanted: Mapping[str, int]) -> dict[str, str]:
        """Why writes may be waiting, in words; what this can mend it mends.

        Args:
            wanted: The highest partition number that is written to, by topic.

        Returns:
            The reason by topic.
        """
        try:
            async with asyncio.timeout(ASK_EVERY_S * ASK):
                found = await self._describe()
                short = {t: n + 1 for t, n in wanted.items() if 0 < len(found.get(t, {})) <= n}
                if mended := {t: n for t, n in short.items() if t in self.topics}:
                    await self._grow(mended)
        except PartitionsError as error:
            return dict.fromkeys(short, str(error))
        except (KafkaError, TimeoutError, OSError) as error:
            return dict.fromkeys(wanted, f"no broker answers ({error!r})")
        return {topic: self._ailment(topic, found.get(topic), n) for topic, n in wanted.items()}

    def _ailment(self, topic: str, partitions: Mapping[int, Any] | None, number: int) -> str:
        if not partitions:
            return "there is no such topic; `weir topics` creates it, and then writes go on"
        if number not in partitions:
            return f"it has {len(partitions)} partitions, and partition {number} is written to"
        if led := sorted(n for n, p in partitions.items() if p["leader"] < 0):
            return f"partitions {led} have no leader; are enough brokers up?"
        least = self._limits.get(topic, TopicLimits()).in_sync
        if few := sorted(n for n, p in partitions.items() if len(p["isr"]) < least):
            return f"partitions {few} have fewer in-sync replicas than min.insync.replicas, {least}"
        return "the brokers do not say why (slow, overloaded, or holding this client to a quota)"

    async def _describe(self) -> dict[str, dict[int, Any]]:
        """All topics that exist: their partitions by number."""

        async def question(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
            described: list[dict[str, Any]] = await admin.describe_topics()
            return described

        return {
            topic["topic"]: {p["partition"]: p for p in topic["partitions"]}
            for topic in await admin_request(self._client, question)
            if topic["error_code"] == 0
        }


async def _configurations(
    client: Mapping[str, Any], topics: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """The configuration of each topic that the brokers tell of."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    admin = AIOKafkaAdminClient(**client)
    try:
        await admin.start()
        return {
            name: {entry[0]: entry[1] for entry in entries}
            for answer in await _ask_for(admin, resources)
            for _code, _message, _type, name, entries in answer.resources
        }
    finally:
        await admin.close()


async def _ask_for(admin: AIOKafkaAdminClient, resources: list[ConfigResource]) -> list[Any]:
    """Each try asks a node at random, which may be one that is away."""
    for left in reversed(range(ASK)):
        try:
            return list(await admin.describe_configs(resources))
        except KafkaError as error:
            if not error.retriable:
                logger.info("the broker does not tell its topics' limits: %r", error)
                return []
            if not left:
                raise
        await asyncio.sleep(ASK_EVERY_S)
    return []
