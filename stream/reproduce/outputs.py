"""The decisions that live workers wrote: the ``weir`` headers on the topics of passes and blocks.

Ten million decisions take 250 MB: of each, its request, a hash of verdict and header, and where the
record is.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash
from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.kafka.reader import TopicReader
from stream.messages import DECISION_HEADER, Decision, RecordError
from stream.reproduce.refused import RefusedRecords

OFFSET_BITS: Final = 43
"""A request is one number: its partition (20 bits) and its offset, up to 8 x 10^12."""

Keys = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def key_of(partition: int, offset: int) -> int:
    """The number of a request.

    Raises:
        RecordError: If its offset is too large.
    """
    if offset >> OFFSET_BITS:
        raise RecordError(f"offset {offset}: over 2^{OFFSET_BITS}")
    return partition << OFFSET_BITS | offset


def request_of(key: int) -> tuple[int, int]:
    """Partition and offset of a request's number."""
    return key >> OFFSET_BITS, key & (1 << OFFSET_BITS) - 1


def hash_of(header: bytes, *, passed: bool) -> int:
    """A hash of all that a decision says."""
    return xxhash.xxh3_64_intdigest(header, seed=int(passed))


@dataclass(frozen=True, slots=True)
class Outputs:
    """The M decisions that were written, sorted by request.

    Attributes:
        key_M: The request of each.
        hash_M: Hash of each decision.
        passed_M: Whether it is on the topic of passes.
        at_M: Its offset there.
        topics: The topics of blocks and of passes.
        refused: Records without a readable decision.
    """

    key_M: Keys
    hash_M: Hashes
    passed_M: npt.NDArray[np.bool_]
    at_M: npt.NDArray[np.int64]
    topics: tuple[str, str]
    refused: RefusedRecords

    def place(self, index: int) -> str:
        """Topic, partition and offset of a decision."""
        partition, _ = request_of(int(self.key_M[index]))
        topic = self.topics[int(self.passed_M[index])]
        return f"{topic}[{partition}]@{int(self.at_M[index])}"


async def read_outputs(settings: Settings) -> Outputs:
    """All decisions on the topics of passes and blocks.

    Raises:
        TopicError: If a topic does not exist, or a batch of it is corrupt.
    """
    topics = (settings.topics.blocked, settings.topics.passed)
    keys, hashes, places = array("q"), array("Q"), array("q")
    counts, refused = [], RefusedRecords()
    for passed, topic in enumerate(topics):
        before = len(keys)
        async with TopicReader(settings.kafka, topic, keep=True) as reader:
            async for _, records in reader.batches():
                for record in records:
                    try:
                        key, header = _read(record)
                    except RecordError as error:
                        refused.add(record, error)
                        continue
                    keys.append(key)
                    hashes.append(hash_of(header, passed=bool(passed)))
                    places.append(record.offset)
        counts.append(len(keys) - before)
    key_M, at_M = np.array(keys, np.int64), np.array(places, np.int64)
    order_M = np.argsort(key_M, kind="stable")
    return Outputs(
        key_M[order_M],
        np.array(hashes, np.uint64)[order_M],
        np.repeat([False, True], counts)[order_M],
        at_M[order_M],
        topics,
        refused,
    )


async def read_headers(settings: Settings, outputs: Outputs, indices: Iterable[int]) -> list[str]:
    """The headers of some of the decisions, as text."""
    found: dict[int, str] = {}
    for passed, topic in enumerate(outputs.topics):
        wanted = [index for index in indices if int(outputs.passed_M[index]) == passed]
        if not wanted:
            continue
        async with TopicReader(settings.kafka, topic, keep=True) as reader:
            partitions = {tp.partition: tp for tp in reader.partitions}
            for index in wanted:
                tp = partitions[request_of(int(outputs.key_M[index]))[0]]
                reader.consumer.seek(tp, int(outputs.at_M[index]))
                records: list[ConsumerRecord] = []
                while not records and not await reader.at_end(tp):
                    records = (await reader.fetch([tp], 1)).get(tp, [])
                header = records[0].headers[-1][1] if records else b"(deleted since)"
                found[index] = header.decode(errors="replace")
    return [found[index] for index in indices]


def _read(record: ConsumerRecord) -> tuple[int, bytes]:
    """The request's number and the header of an output: its last, as workers write it."""
    if not record.headers or record.headers[-1][0] != DECISION_HEADER:
        raise RecordError(f"its last header is not {DECISION_HEADER!r}")
    header = record.headers[-1][1]
    decision = Decision.from_bytes(header)
    return key_of(record.partition, decision.offset), header
