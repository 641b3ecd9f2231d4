"""Where reading starts when the committed offsets cannot be used, instead of auto.offset.reset.

Three things can happen to committed offsets. The topic's retention passes them: the deleted records
are counted, and reading continues at the first one that is left, in a chunk that starts at the
committed offset, so that ledger and lane see no gap. The topic ends before them: it was recreated
or truncated, and only an operator knows which records were read, so the consumer stops. Or they
are missing: `initial_offsets` chooses them, and commits its choice before anything is written, so
that a first start is never mistaken for a loss of offsets later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from faust.types import TP

from stream.transport.incidents import Incidents, OffsetsMissingError, TopicChangedError

OffsetReset = Literal["earliest", "latest", "refuse"]
#: Tells which of some partitions were filtered before: output topics hold records of them.
Filtered = Callable[[Iterable[tuple[str, int]]], Awaitable[set[tuple[str, int]]]]

_RECHECK_S: Final = 0.1


async def reset_out_of_range(
    consumer: AIOKafkaConsumer,
    offsets: Mapping[TopicPartition, int],
    group: str,
    incidents: Incidents,
) -> None:
    """Seek to where a partition still has records, after the broker refused a fetch.

    Args:
        consumer: The consumer that seeks.
        offsets: The positions that the broker does not have.
        group: The consumer group, for messages.
        incidents: Missed records are reported to it.

    Raises:
        TopicChangedError: If a topic ends before the position.
    """
    first = await consumer.beginning_offsets(list(offsets))
    ends = await consumer.end_offsets(list(offsets))
    for tp, at in offsets.items():
        if at < first[tp]:
            incidents.missed(tp.topic, tp.partition, at, first[tp])
            consumer.seek(tp, first[tp])
        elif at > ends[tp]:
            raise TopicChangedError(
                f"{tp.topic}[{tp.partition}]: group {group} has committed offset {at}, and the "
                f"topic ends at {ends[tp]}: it was deleted and recreated, or lost records in an "
                "unclean leader election. Stop all workers of the group and set its offsets: `weir "
                "offsets reset --to earliest` (or latest; --role feedback for the feedback "
                "worker's)"
            )
        else:  # the log has changed meanwhile, and the position is valid
            await asyncio.sleep(_RECHECK_S)


async def initial_offsets(
    consumer: AIOKafkaConsumer,
    partitions: Iterable[TP],
    reset: OffsetReset,
    filtered: Filtered | None,
    incidents: Incidents,
) -> dict[TP, int]:
    """Choose the first offset of partitions without a committed one, and commit it.

    A partition that was never filtered starts at its first record, for any value of `reset`.

    Args:
        consumer: Reads and commits.
        partitions: The partitions without a committed offset.
        reset: Where partitions that were filtered before start.
        filtered: Tells which those are; if None, all start at their first record.
        incidents: Partitions that were filtered before are reported to it.

    Returns:
        The offset to start from, by partition.

    Raises:
        OffsetsMissingError: If `reset` is ``refuse`` and a partition was filtered before.
    """
    wanted = {TopicPartition(tp.topic, tp.partition): tp for tp in partitions}
    known = await filtered(wanted.values()) if filtered is not None else set()
    lost = {tp for tp in wanted if wanted[tp] in known}
    if lost and reset == "refuse":
        topic, numbers = next(iter(lost)).topic, sorted(tp.partition for tp in lost)
        raise OffsetsMissingError(
            f"{topic}: the group has no committed offsets for partitions {numbers}, though output "
            "topics hold records of them, and worker.offsets_missing = refuse; set the group's "
            "offsets (`weir offsets reset --to ...`), or choose earliest (filters again what is "
            "there) or latest (skips what is there)"
        )
    at: dict[TopicPartition, int] = await consumer.beginning_offsets(list(wanted))
    if lost and reset == "latest":
        first = {tp: at[tp] for tp in lost}
        at |= await consumer.end_offsets(list(lost))
        for tp, start in first.items():
            if at[tp] > start:
                incidents.skipped(tp.topic, tp.partition, start, at[tp])
    for topic in {tp.topic for tp in lost}:
        numbered = {tp.partition: at[tp] for tp in lost if tp.topic == topic}
        incidents.offsets_missing(topic, numbered, reset)
    await _commit(consumer, at)
    return {wanted[tp]: offset for tp, offset in at.items()}


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[Any, int]) -> None:
    # While the group is rebalancing, the next owner chooses them.
    with suppress(CommitFailedError, IllegalStateError):
        await consumer.commit(offsets)
