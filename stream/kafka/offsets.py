"""Where a consumer group of Weir stands, and how to put it elsewhere while nobody is in it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from models.errors import UserError
from models.settings import Settings
from stream.kafka.client import client_options, patiently
from stream.kafka.group_watch import groups_of, members

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


class OffsetError(UserError, RuntimeError):
    """A group that cannot be reset, or a place that is none; names both and the fix."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group stands on one partition.

    Attributes:
        committed: Offset of the next record that it reads; None where it has committed none.
        begin: First offset that is still there.
        end: Offset behind the last record.
    """

    committed: int | None
    begin: int
    end: int

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(0, self.end - max(self.committed or 0, self.begin))


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group as the brokers know it.

    Attributes:
        name: Its name.
        members: Consumers in it now.
        places: Where it stands, by partition.
    """

    name: str
    members: int
    places: Mapping[TopicPartition, Place]


async def show(settings: Settings, group: str) -> Group:
    """Where a group stands on all that it reads.

    Raises:
        OffsetError: If a topic that it reads is missing.
        KafkaError: If no broker answers, or this user may not know.
    """
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    consumer = AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False)
    try:
        await admin.start()
        await consumer.start()
        partitions = await _partitions(admin, groups_of(settings)[group])
        present = await members(admin, group)

        async def committed(admin: AIOKafkaAdminClient) -> dict[TopicPartition, OffsetAndMetadata]:
            found: dict[
                TopicPartition, OffsetAndMetadata
            ] = await admin.list_consumer_group_offsets(group, partitions=partitions)
            return found

        told = await patiently(committed, admin)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        places = {
            tp: Place(
                told[tp].offset if tp in told and told[tp].offset >= 0 else None, begins[tp], end
            )
            for tp, end in ends.items()
        }
        return Group(group, present, places)
    finally:
        await consumer.stop()
        await admin.close()


async def reset(
    settings: Settings, group: str, to: str, *, partition: int | None = None, dry_run: bool = False
) -> dict[TopicPartition, tuple[int | None, int]]:
    """Put a group elsewhere.

    Args:
        settings: Brokers and topics.
        group: The group.
        to: ``earliest``, ``latest``, a moment (ISO 8601, UTC without an offset), or an offset.
        partition: Only this one of each topic; all without it.
        dry_run: Say what would be done.

    Returns:
        Where it stood and where it stands now, by partition.

    Raises:
        OffsetError: If somebody is in the group, the place is none, or the brokers refuse.
    """
    found = await show(settings, group)
    if found.members:
        raise OffsetError(
            f"members in group {group}: {found.members}, and they would go on from where they are; "
            "stop them first (one that was killed leaves after kafka.session_timeout_s; the "
            "embedded broker keeps members until it ends)"
        )
    places = {
        tp: place
        for tp, place in found.places.items()
        if partition is None or tp.partition == partition
    }
    if not places:
        raise OffsetError(f"partition {partition}: no topic that {group} reads has it")
    targets = await _targets(settings, places, to)
    if not dry_run:
        await _commit(settings, group, targets)
    return {tp: (places[tp].committed, at) for tp, at in sorted(targets.items())}


async def _partitions(admin: AIOKafkaAdminClient, topics: tuple[str, ...]) -> list[TopicPartition]:
    found = {
        topic["topic"]: [
            TopicPartition(topic["topic"], p["partition"]) for p in topic["partitions"]
        ]
        for topic in await patiently(AIOKafkaAdminClient.describe_topics, admin)
        if topic["error_code"] == 0
    }
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise OffsetError(f"{', '.join(missing)}: no such topic; `weir topics` creates it")
    return sorted(tp for topic in topics for tp in found[topic])


async def _targets(
    settings: Settings, places: Mapping[TopicPartition, Place], to: str
) -> dict[TopicPartition, int]:
    if to == EARLIEST:
        return {tp: place.begin for tp, place in places.items()}
    if to == LATEST:
        return {tp: place.end for tp, place in places.items()}
    if to.isdigit():
        return {tp: _inside(tp, place, int(to)) for tp, place in places.items()}
    return await _at_moment(settings, places, moment_ms(to))


def _inside(tp: TopicPartition, place: Place, offset: int) -> int:
    if place.begin <= offset <= place.end:
        return offset
    raise OffsetError(
        f"{tp.topic}[{tp.partition}]@{offset}: not there; it goes from {place.begin} to {place.end}"
    )


async def _at_moment(
    settings: Settings, places: Mapping[TopicPartition, Place], time_ms: int
) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False)
    try:
        await consumer.start()
        found = await consumer.offsets_for_times(dict.fromkeys(places, time_ms))
    finally:
        await consumer.stop()
    return {
        tp: at.offset if (at := found.get(tp)) is not None else place.end
        for tp, place in places.items()
    }


def moment_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 moment, UTC without an offset.

    Raises:
        OffsetError: If it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise OffsetError(
            f"{text!r}: write earliest, latest, an offset, or a moment such as 2026-01-31T12:00:00"
        ) from error


async def _commit(settings: Settings, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit for a group without being a member; brokers refuse that while it has any."""
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=group, enable_auto_commit=False
    )
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        await consumer.commit({tp: OffsetAndMetadata(at, "") for tp, at in offsets.items()})
    except KafkaError as error:
        raise OffsetError(
            f"{group} cannot be reset: {error if str(error) else type(error).__name__}; nobody may "
            "be in the group, and this user needs Read on it"
        ) from error
    finally:
        await asyncio.shield(consumer.stop())
