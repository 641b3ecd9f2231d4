"""The journals on the topic: which workers wrote one, and the entries of each."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import ConsumerRecord, TopicPartition

from models.bounds import MAX_JOURNALS, MAX_WORKER_NAME
from stream.journal.blocks import BlockReader
from stream.kafka.reader import TopicReader
from stream.messages.journal import Entry, read_block
from stream.messages.parsing import RecordError
from stream.reproduce.refused import RefusedRecords


@dataclass(slots=True)
class Journal:
    """Where the blocks of one worker are.

    Attributes:
        worker: Name of the worker, the key of its records.
        partition: The partition of the topic that all of them are on.
        first: Offset of the first block.
        last: Offset of the last block.
        since_ms: Time of the first block.
    """

    worker: str
    partition: TopicPartition
    first: int
    last: int
    since_ms: int


class BrokenJournalError(RecordError):
    """A journal that cannot be read on; the message has the coordinates of the record."""


async def find_journals(reader: TopicReader) -> tuple[list[Journal], RefusedRecords]:
    """The journals on a topic, by the time of their first blocks, and what is not of one.

    A worker writes to one partition; blocks with its name on another are a journal of their own,
    which cannot be read, so that they do not spoil the worker's. A record that is no block at all
    spoils none, whoever's name it has: if it stands for a block, that one's number is missing.

    Args:
        reader: Reader of the topic, at its beginning.

    Returns:
        The journals; and the records that are of no journal.
    """
    found: dict[tuple[str, TopicPartition], Journal] = {}
    refused = RefusedRecords()
    async for tp, records in reader.batches():
        for record in records:
            try:
                worker = _worker(record)
                read_block(record.value)
            except RecordError as error:
                refused.add(record, error)
                continue
            journal = found.get((worker, tp))
            if journal is not None:
                journal.last = record.offset
            elif len(found) < MAX_JOURNALS:
                found[worker, tp] = Journal(
                    worker, tp, record.offset, record.offset, record.timestamp
                )
            else:
                refused.add(record, f"more than {MAX_JOURNALS} workers")
    in_order = sorted(found.values(), key=lambda each: (each.since_ms, each.worker, each.partition))
    return in_order, refused


async def read_journal(reader: TopicReader, journal: Journal) -> AsyncIterator[Entry]:
    """The entries of a journal, in order.

    Args:
        reader: Reader of the topic; its position on the partition is changed.
        journal: The journal.

    Raises:
        BrokenJournalError: If it cannot be read on; the entries so far are right.
    """
    tp, blocks = journal.partition, BlockReader()
    reader.consumer.seek(tp, journal.first)
    while await reader.consumer.position(tp) <= journal.last:
        for record in (await reader.fetch([tp])).get(tp, ()):
            if record.offset > journal.last:
                return
            if record.key != journal.worker.encode() or not _is_block(record):
                continue
            try:
                entries = blocks.read(record.value)
            except RecordError as error:
                where = f"{tp.topic}[{tp.partition}]@{record.offset}"
                raise BrokenJournalError(f"{where}: {error}") from error
            for entry in entries:
                yield entry


def _is_block(record: ConsumerRecord) -> bool:
    """Whether `find_journals` has not refused it."""
    try:
        read_block(record.value)
    except RecordError:
        return False
    return True


def _worker(record: ConsumerRecord) -> str:
    key = record.key or b""
    if not 0 < len(key) <= MAX_WORKER_NAME:
        raise RecordError(f"key: 1 to {MAX_WORKER_NAME} bytes, the name of a worker")
    try:
        return str(key, "utf-8")
    except UnicodeDecodeError as error:
        raise RecordError("key: not UTF-8") from error
