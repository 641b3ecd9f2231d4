"""Where a consumer stands, when the broker no longer agrees.

Three things happen to committed offsets behind a consumer's back. The topic's retention passes
them: what was deleted is counted, and reading goes on at the first record that is left, in a chunk
that begins at the committed offset, so that ledger and lane see no hole. The topic ends before
them: it was deleted and made anew, or truncated, and nothing but a person knows which records are
which: the consumer stops. Or they are gone: `begin` decides, and commits what it decided before
anything is written, so that later nobody takes a first start for a loss.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from faust.types import TP

from stream.transport.incidents import Incidents, OffsetsMissingError, TopicChangedError

Begin = Literal["earliest", "latest", "refuse"]
#: Which of some partitions have been filtered before: their output topics hold records.
Filtered = Callable[[Iterable[tuple[str, int]]], Awaitable[set[tuple[str, int]]]]

_RECHECK_S: Final = 0.1


async def out_of_range(
    consumer: AIOKafkaConsumer,
    offsets: Mapping[TopicPartition, int],
    group: str,
    incidents: Incidents | None,
) -> None:
    """Go on where a partition still has records, after the broker refused a fetch.

    Args:
        consumer: Whose positions they are.
        offsets: The positions that the broker does not have.
        group: The consumer group, for messages.
        incidents: Told what was missed; None for topics where that loses nothing (changelogs).

    Raises:
        TopicChangedError: If a topic ends before the position.
    """
    first = await consumer.beginning_offsets(list(offsets))
    ends = await consumer.end_offsets(list(offsets))
    for tp, at in offsets.items():
        if at < first[tp]:
            if incidents is not None:
                incidents.missed(tp.topic, tp.partition, at, first[tp])
            consumer.seek(tp, first[tp])
        elif at > ends[tp] and incidents is not None:
            raise TopicChangedError(
                f"{tp.topic}[{tp.partition}]: group {group} stands at offset {at}, and the topic "
                f"ends at {ends[tp]}: it was deleted and made anew, or lost records in an unclean "
                "leader election. Stop all workers of the group and set its offsets: `weir offsets "
                "reset --to earliest` (or latest; --role feedback for the feedback worker's)"
            )
        elif at > ends[tp]:
            consumer.seek(tp, first[tp])
        else:  # the log moved meanwhile, and has it after all
            await asyncio.sleep(_RECHECK_S)


async def begin(
    consumer: AIOKafkaConsumer,
    partitions: Iterable[TP],
    where: Begin,
    filtered: Filtered | None,
    incidents: Incidents,
) -> dict[TP, int]:
    """Decide where partitions without a committed offset begin, and commit it.

    A partition that was never filtered begins at its first record, whatever `where` says.

    Args:
        consumer: Reads and commits.
        partitions: Those without a committed offset.
        where: What the settings say for partitions that were filtered before.
        filtered: Tells which these are; None: nobody can, so all begin at their first record.
        incidents: Told of those that were filtered before.

    Raises:
        OffsetsMissingError: If `where` is ``refuse`` and a partition was filtered before.
    """
    wanted = {TopicPartition(tp.topic, tp.partition): tp for tp in partitions}
    known = await filtered(wanted.values()) if filtered is not None else set()
    lost = {tp for tp in wanted if wanted[tp] in known}
    if lost and where == "refuse":
        topic, numbers = next(iter(lost)).topic, sorted(tp.partition for tp in lost)
        raise OffsetsMissingError(
            f"{topic}: the group has no committed offsets for partitions {numbers}, though output "
            "topics hold records of them, and worker.offsets_missing = refuse; set the group's "
            "offsets (`weir offsets reset --to ...`), or choose earliest (filters again what is "
            "there) or latest (leaves out what waits)"
        )
    at: dict[TopicPartition, int] = await consumer.beginning_offsets(list(wanted))
    if lost and where == "latest":
        first = {tp: at[tp] for tp in lost}
        at |= await consumer.end_offsets(list(lost))
        for tp, start in first.items():
            if at[tp] > start:
                incidents.skipped(tp.topic, tp.partition, start, at[tp])
    for topic in {tp.topic for tp in lost}:
        numbered = {tp.partition: at[tp] for tp in lost if tp.topic == topic}
        incidents.offsets_missing(topic, numbered, where)
    await _commit(consumer, at)
    return {wanted[tp]: offset for tp, offset in at.items()}


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[Any, int]) -> None:
    # While the group is rebalancing, whoever owns them next begins them.
    with suppress(CommitFailedError, IllegalStateError):
        await consumer.commit(offsets)
