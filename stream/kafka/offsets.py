"""Shows the offsets of Weir's consumer groups, and resets them while a group has no members."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from models.errors import UserError
from models.settings import Settings
from stream.kafka.admin import Admin
from stream.kafka.client import client_options
from stream.kafka.group_watch import groups_of, members
from stream.kafka.times import TimeError, parse_time_ms

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


class OffsetError(UserError, RuntimeError):
    """A group that cannot be reset, or a target that is not valid; names it and the fix."""


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The offsets of one partition.

    Attributes:
        committed: Offset of the next record that the group reads; None where none is committed.
        begin: First offset that retention has left.
        end: Offset of the next record that is written.
    """

    committed: int | None
    begin: int
    end: int

    @property
    def lag(self) -> int:
        """Records that the group has not read."""
        return max(0, self.end - max(self.committed or 0, self.begin))


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """The offsets of a consumer group.

    Attributes:
        name: Name of the group.
        members: Number of consumers in it now.
        partitions: Offsets of every partition that it reads.
    """

    name: str
    members: int
    partitions: Mapping[TopicPartition, PartitionOffsets]


async def show(settings: Settings, group: str) -> GroupOffsets:
    """The offsets of a group on all partitions that it reads.

    Raises:
        OffsetError: If a topic that it reads does not exist.
        KafkaError: If no broker answers, or this user has no right to describe the group.
    """
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
    try:
        await consumer.start()
        async with Admin(options) as admin:
            partitions = await _partitions(admin, groups_of(settings)[group])
            present = await admin.request(lambda client: members(client, group))
            committed = await admin.committed_offsets(group, partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    found = {
        tp: PartitionOffsets(committed.get(tp), begins[tp], end) for tp, end in sorted(ends.items())
    }
    return GroupOffsets(group, present, found)


async def reset(
    settings: Settings, group: str, to: str, *, partition: int | None = None, dry_run: bool = False
) -> dict[TopicPartition, tuple[int | None, int]]:
    """Set the committed offsets of a group that has no members.

    Args:
        settings: Brokers and topics.
        group: Name of the group.
        to: ``earliest``, ``latest``, a time (ISO 8601; UTC without a UTC offset), or an offset.
        partition: Reset only this partition of each topic; None resets all.
        dry_run: Return what would be done, and commit nothing.

    Returns:
        Committed offset before and after, by partition.

    Raises:
        OffsetError: If the group has members, the target is not valid, or the brokers refuse.
    """
    found = await show(settings, group)
    if found.members:
        raise OffsetError(
            f"members in group {group}: {found.members}, and they would overwrite the new offsets; "
            "stop them first (a member that was killed is removed after kafka.session_timeout_s; "
            "the embedded broker keeps it until the broker ends)"
        )
    chosen = {
        tp: offsets
        for tp, offsets in found.partitions.items()
        if partition is None or tp.partition == partition
    }
    if not chosen:
        raise OffsetError(f"partition {partition}: no topic that {group} reads has it")
    targets = await _targets(settings, chosen, to)
    if not dry_run:
        await _commit(settings, group, targets)
    return {tp: (chosen[tp].committed, offset) for tp, offset in sorted(targets.items())}


async def _partitions(admin: Admin, topics: tuple[str, ...]) -> list[TopicPartition]:
    found = await admin.partitions()
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise OffsetError(f"{', '.join(missing)}: no such topic; `weir topics` creates it")
    return sorted(TopicPartition(topic, p["partition"]) for topic in topics for p in found[topic])


async def _targets(
    settings: Settings, partitions: Mapping[TopicPartition, PartitionOffsets], to: str
) -> dict[TopicPartition, int]:
    if to == EARLIEST:
        return {tp: offsets.begin for tp, offsets in partitions.items()}
    if to == LATEST:
        return {tp: offsets.end for tp, offsets in partitions.items()}
    if to.isdigit():
        return {tp: _in_range(tp, offsets, int(to)) for tp, offsets in partitions.items()}
    try:
        time_ms = parse_time_ms(to)
    except TimeError as error:
        raise OffsetError(
            f"{to!r}: write earliest, latest, an offset, or a time such as 2026-01-31T12:00:00"
        ) from error
    return await _at_time(settings, partitions, time_ms)


def _in_range(tp: TopicPartition, offsets: PartitionOffsets, offset: int) -> int:
    if offsets.begin <= offset <= offsets.end:
        return offset
    raise OffsetError(
        f"{tp.topic}[{tp.partition}]@{offset}: no such offset; the partition has {offsets.begin} "
        f"to {offsets.end}"
    )


async def _at_time(
    settings: Settings, partitions: Mapping[TopicPartition, PartitionOffsets], time_ms: int
) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**client_options(settings.kafka), enable_auto_commit=False)
    try:
        await consumer.start()
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, time_ms))
    finally:
        await consumer.stop()
    return {
        tp: at.offset if (at := found.get(tp)) is not None else offsets.end
        for tp, offsets in partitions.items()
    }


async def _commit(settings: Settings, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit for a group without joining it; the brokers refuse that while it has members."""
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=group, enable_auto_commit=False
    )
    try:
        await consumer.start()
        consumer.assign(list(offsets))
        await consumer.commit({tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()})
    except KafkaError as error:
        raise OffsetError(
            f"{group} cannot be reset: {error if str(error) else type(error).__name__}; the group "
            "must have no members, and this user needs Read on it"
        ) from error
    finally:
        await asyncio.shield(consumer.stop())
