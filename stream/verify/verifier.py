"""The verifier: reads input and output topics from outside and accounts for every request.

It checks that every input is on exactly one output topic exactly once, unchanged, in the order of
its partition, and that the group's offsets are committed up to the end. It knows nothing of Weir
but the documented contract (:mod:`stream.verify.evidence`), and reads like a consumer downstream:
``read_committed``, up to the last stable offset. :class:`Verifier` builds the account,
:func:`account` feeds it.

Requests that the input topic no longer holds cannot be verified: the account states the range of
offsets that it covers, and a gap before it that no output fills. A batch of requests that cannot be
read counts as one request, at its first offset: the worker writes one dead letter for it.

Memory is 33 bytes per request, independent of its size and offset; while a partition's columns
grow, up to three times that.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from models.settings import Settings
from stream.kafka.admin import admin_request
from stream.kafka.batches import RefusedBatch
from stream.kafka.client import client_options
from stream.kafka.reader import TopicReader
from stream.verify.account import Account, Fate, Fault, FaultKind
from stream.verify.evidence import NOWHERE, output_evidence
from stream.verify.inputs import MISSING, Inputs

#: Faults of each kind that are listed; all are counted.
LISTED: Final = 5


class Observer(Protocol):
    """Receives all records that the verifier reads: first every input, then every output."""

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the input topic."""

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the output topic of ``fate``."""


class Verifier:
    """Builds the account from all inputs and their span, all outputs, and the committed offsets.

    Args:
        requests: Name of the input topic.
        outputs: Name of the output topic of each fate.
    """

    def __init__(self, requests: str, outputs: Mapping[Fate, str]) -> None:
        self._requests = requests
        self._outputs = outputs
        self._partitions: dict[int, Inputs] = {}
        self._latest: dict[tuple[Fate, int], int] = {}
        self.account = Account()

    def span(self, partition: int, first: int, end: int) -> None:
        """Set the offsets that a partition of the input topic holds: from ``first`` to ``end``."""
        inputs = self._partitions.setdefault(partition, Inputs())
        inputs.first, inputs.end = first, end

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Add the next records of one partition of the input topic."""
        self._partitions.setdefault(partition, Inputs()).add(records)
        self.account.requests += len(records)
        self.account.unreadable += sum(isinstance(record, RefusedBatch) for record in records)

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Add the next records of one partition of the output topic of ``fate``."""
        self.account.outputs += len(records)
        outputs = [output_evidence(fate, self._requests, record) for record in records]
        inputs = self._partitions.setdefault(partition, Inputs())
        matches = inputs.match(fate, outputs)
        source_N, known_N, first_N = matches.source_N, matches.known_N, matches.first_N
        self.account.expired += int(np.count_nonzero(matches.expired_N))
        self.account.log_append_time += matches.appended
        for kind, wrong_N in (
            (FaultKind.UNKNOWN, ~known_N & ~matches.expired_N),
            (FaultKind.DOUBLED, known_N & ~first_N),
            (FaultKind.ALTERED, matches.altered_N),
            (FaultKind.REORDERED, self._behind(fate, partition, source_N, first_N)),
        ):
            rows = np.flatnonzero(wrong_N)
            self._found(
                kind,
                len(rows),
                (
                    Fault(kind, partition, int(source_N[i]), self._outputs[fate], records[i].offset)
                    for i in rows[:LISTED].tolist()
                ),
            )

    def _behind(
        self,
        fate: Fate,
        partition: int,
        source_N: npt.NDArray[np.int64],
        first_N: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Whether each is a first output that follows that of a later input; bool (N,)."""
        behind_N = np.zeros(len(source_N), np.bool_)
        rows_K = np.flatnonzero(first_N)
        if len(rows_K):
            before = self._latest.get((fate, partition), NOWHERE)
            latest_K = np.maximum.accumulate(np.concatenate([[before], source_N[rows_K]]))
            behind_N[rows_K] = source_N[rows_K] < latest_K[:-1]
            self._latest[fate, partition] = int(latest_K[-1])
        return behind_N

    def open(self, topic: str, partition: int, stable: int, end: int) -> None:
        """Note that the offsets from ``stable`` to ``end`` belong to an open transaction."""
        source = stable if topic == self._requests else NOWHERE
        where = Fault(FaultKind.OPEN, partition, source, topic, stable)
        self._found(FaultKind.OPEN, end - stable, [where])

    def finish(self, committed: Mapping[int, int]) -> Account:
        """Complete the account after everything was read.

        Args:
            committed: Committed offset of the group by input partition, where there is one.
        """
        for partition, inputs in sorted(self._partitions.items()):
            count = inputs.count
            fates = self.account.fates[partition] = inputs.fates[:count]
            self.account.covered[partition] = (inputs.first, inputs.end)
            done = committed.get(partition, inputs.first)
            first_open = int(np.searchsorted(inputs.offsets[:count], done))
            for kind, rows in (
                (FaultKind.MISSING, np.flatnonzero(fates == MISSING)),
                (FaultKind.UNCOMMITTED, np.arange(first_open, count)),
            ):
                self._found(
                    kind,
                    len(rows),
                    (
                        Fault(kind, partition, source, self._requests, NOWHERE)
                        for source in inputs.offsets[rows[:LISTED]].tolist()
                    ),
                )
            gap = inputs.gap(committed.get(partition))
            if gap is not None:
                self.account.gaps[partition] = gap
                where = Fault(FaultKind.GAP, partition, gap[0], self._requests, NOWHERE)
                self._found(FaultKind.GAP, gap[1] - gap[0], [where])
        return self.account

    def _found(self, kind: FaultKind, count: int, faults: Iterable[Fault]) -> None:
        if count > 0:
            room = max(0, LISTED - self.account.counts[kind])
            self.account.faults += list(faults)[:room]
            self.account.counts[kind] += count


async def account(settings: Settings, *observers: Observer) -> Account:
    """Read the input topic and its output topics to their present ends.

    Use it while no worker runs or all are idle: requests in flight count as missing.

    Args:
        settings: Brokers, group and names of the topics.
        observers: Receive the same records.

    Raises:
        TopicError: If a topic does not exist.
        KafkaError: If the brokers do not answer.
    """
    topics = settings.topics
    outputs = {
        Fate.PASSED: topics.passed,
        Fate.BLOCKED: topics.blocked,
        Fate.REJECTED: topics.rejected,
    }
    verifier = Verifier(topics.requests, outputs)
    everyone: list[Observer] = [verifier, *observers]
    async with TopicReader(settings.kafka, topics.requests, keep=True) as reader:
        async for tp, records in reader.batches():
            for each in everyone:
                each.inputs(tp.partition, records)
        partitions = reader.partitions
        for tp in partitions:
            verifier.span(tp.partition, reader.starts[tp], reader.ends[tp])
        for tp, (stable, end) in reader.unstable().items():
            verifier.open(topics.requests, tp.partition, stable, end)
    for fate, topic in outputs.items():
        async with TopicReader(settings.kafka, topic, keep=True) as reader:
            async for tp, records in reader.batches():
                for each in everyone:
                    each.outputs(fate, tp.partition, records)
            for tp, (stable, end) in reader.unstable().items():
                verifier.open(topic, tp.partition, stable, end)
    return verifier.finish(await committed_offsets(settings, partitions))


async def committed_offsets(
    settings: Settings, partitions: Sequence[TopicPartition]
) -> dict[int, int]:
    """Committed offset of the group by partition number, where there is one."""

    async def request(admin: AIOKafkaAdminClient) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
            settings.kafka.group, partitions=list(partitions)
        )
        return offsets

    found = await admin_request(client_options(settings.kafka), request)
    return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}
