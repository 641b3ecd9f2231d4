"""The verifier: reads input and output topics from outside and accounts for every request.

It states whether every input is on exactly one output topic exactly once, unchanged, in the order
of its partition, with the group's offsets committed up to the end. It knows nothing of Weir but
the documented contract: outputs lie on the source's partition number with the source's key, value,
timestamp and headers; the ``weir`` header of a passed or blocked record, and the ``weir-offset``
header of a rejected one, name the source offset. It reads as downstream does, ``read_committed``,
up to the last stable offset. :class:`Verifier` is the account, :func:`account` feeds it.

It can say nothing of requests that the input topic no longer holds, and says so: the account names
the range of offsets that it covers, and a gap before it that no output fills. A batch of requests
that cannot be read counts as one request, at its first offset: the worker writes one dead letter
for it.

Memory is 33 bytes per request, whatever it weighs and wherever its offset lies; while a partition's
columns grow, up to three times that.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

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
from stream.verify.evidence import NOWHERE, Evidence, input_hashes, output_evidence

#: How many faults of each kind are listed; all are counted.
LISTED: Final = 5

_MISSING: Final = -1
_COLUMNS: Final = {
    "offsets": np.int64,
    "stamps": np.int64,
    "whole": np.uint64,
    "cut": np.uint64,
    "fates": np.int8,
}


class Observer(Protocol):
    """Sees all that the verifier reads: first every input, then every output."""

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the input topic."""

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the output topic of ``fate``."""


class Inputs:
    """One partition of the input topic, as columns by record that grow.

    Attributes:
        count: Records.
        offsets: Offset of each, increasing, int64.
        stamps: Timestamp of each in ms, int64.
        whole: Content hash of each, uint64.
        cut: The same of each as a truncated dead letter shows it.
        fates: Where its first output was found, int8.
        first: Offset at which the partition begins: what came before is deleted.
        end: Offset up to which it was read.
        before: The newest request before `first` that has an output; -1 for none.
    """

    def __init__(self) -> None:
        self.offsets = np.zeros(0, np.int64)
        self.stamps = np.zeros(0, np.int64)
        self.whole = np.zeros(0, np.uint64)
        self.cut = np.zeros(0, np.uint64)
        self.fates = np.zeros(0, np.int8)
        self.count = 0
        self.first = 0
        self.end = 0
        self.before = NOWHERE

    def add(self, records: Sequence[ConsumerRecord]) -> None:
        """The next records, in offset order."""
        start, self.count = self.count, self.count + len(records)
        if self.count > len(self.fates):
            size = max(self.count, 2 * len(self.fates), 1024)
            for column, kind in _COLUMNS.items():
                grown = np.zeros(size, kind)
                grown[:start] = getattr(self, column)[:start]
                setattr(self, column, grown)
        new = slice(start, self.count)
        self.offsets[new] = [record.offset for record in records]
        self.stamps[new] = [record.timestamp for record in records]
        hashes_N2 = np.array([input_hashes(record) for record in records], np.uint64)
        self.cut[new], self.whole[new] = hashes_N2.T
        self.fates[new] = _MISSING
        self.end = max(self.end, records[-1].offset + 1)

    def settle(self, fate: Fate, outputs: Sequence[Evidence]) -> "Settled":
        """Note the fate of the inputs of N outputs on the topic of ``fate``."""
        count = len(outputs)
        source_N = np.fromiter((output.source for output in outputs), np.int64, count)
        hash_N = np.fromiter((output.content for output in outputs), np.uint64, count)
        stamp_N = np.fromiter((output.timestamp for output in outputs), np.int64, count)
        cut_N = np.fromiter((output.cut for output in outputs), np.bool_, count)
        appended_N = np.fromiter((output.appended for output in outputs), np.bool_, count)
        row_N = np.searchsorted(self.offsets[: self.count], source_N)
        known_N = row_N < self.count
        known_N[known_N] = self.offsets[row_N[known_N]] == source_N[known_N]
        outputs_K = np.flatnonzero(known_N)
        row_K = row_N[outputs_K]
        first_N, altered_N = np.zeros_like(known_N), np.zeros_like(known_N)
        first_N[outputs_K[np.unique(row_K, return_index=True)[1]]] = True
        first_N[outputs_K] &= self.fates[row_K] == _MISSING
        content_K = np.where(cut_N[outputs_K], self.cut[row_K], self.whole[row_K])
        moved_K = stamp_N[outputs_K] != self.stamps[row_K]
        altered_N[outputs_K] = (hash_N[outputs_K] != content_K) | (moved_K & ~appended_N[outputs_K])
        self.fates[row_N[first_N]] = fate
        expired_N = ~known_N & (source_N >= 0) & (source_N < self.first)
        if expired_N.any():
            self.before = max(self.before, int(source_N[expired_N].max()))
        appended = int(np.count_nonzero(moved_K & appended_N[outputs_K]))
        return Settled(source_N, known_N, first_N, altered_N, expired_N, appended)

    def gap(self, committed: int | None) -> tuple[int, int] | None:
        """Offsets that were deleted and, as far as can be told, never filtered."""
        start = self.before + 1 if self.before >= 0 else None
        if committed is not None and committed < self.first:
            start = max(committed, start or 0)
        return None if start is None or start >= self.first else (start, self.first)


class Settled(NamedTuple):
    """What N outputs are to their inputs, bool (N,) each but the first and the last.

    Attributes:
        source_N: Source offsets that they name, int64.
        known_N: They name an input.
        first_N: No output before them named it.
        altered_N: They name an input whose content or timestamp is another.
        expired_N: They name an input that the topic no longer holds.
        appended: How many have another timestamp because the broker puts its own time there.
    """

    source_N: npt.NDArray[np.int64]
    known_N: npt.NDArray[np.bool_]
    first_N: npt.NDArray[np.bool_]
    altered_N: npt.NDArray[np.bool_]
    expired_N: npt.NDArray[np.bool_]
    appended: int


class Verifier:
    """Builds the account; fed with all inputs and their span, all outputs, what was committed.

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
        """A partition of the input topic holds the offsets from ``first`` to ``end``."""
        inputs = self._partitions.setdefault(partition, Inputs())
        inputs.first, inputs.end = first, end

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the input topic."""
        self._partitions.setdefault(partition, Inputs()).add(records)
        self.account.requests += len(records)
        self.account.unreadable += sum(isinstance(record, RefusedBatch) for record in records)

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the output topic of ``fate``."""
        self.account.outputs += len(records)
        outputs = [output_evidence(fate, self._requests, record) for record in records]
        inputs = self._partitions.setdefault(partition, Inputs())
        settled = inputs.settle(fate, outputs)
        source_N, known_N, first_N = settled.source_N, settled.known_N, settled.first_N
        self.account.expired += int(np.count_nonzero(settled.expired_N))
        self.account.log_append_time += settled.appended
        for kind, wrong_N in (
            (FaultKind.UNKNOWN, ~known_N & ~settled.expired_N),
            (FaultKind.DOUBLED, known_N & ~first_N),
            (FaultKind.ALTERED, settled.altered_N),
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
        """Which of the first outputs come after that of a later input; bool (N,)."""
        behind_N = np.zeros(len(source_N), np.bool_)
        rows_K = np.flatnonzero(first_N)
        if len(rows_K):
            before = self._latest.get((fate, partition), NOWHERE)
            latest_K = np.maximum.accumulate(np.concatenate([[before], source_N[rows_K]]))
            behind_N[rows_K] = source_N[rows_K] < latest_K[:-1]
            self._latest[fate, partition] = int(latest_K[-1])
        return behind_N

    def open(self, topic: str, partition: int, stable: int, end: int) -> None:
        """Offsets of a topic from ``stable`` to ``end`` wait for the end of a transaction."""
        source = stable if topic == self._requests else NOWHERE
        where = Fault(FaultKind.OPEN, partition, source, topic, stable)
        self._found(FaultKind.OPEN, end - stable, [where])

    def finish(self, committed: Mapping[int, int]) -> Account:
        """The account, after everything was read.

        Args:
            committed: Committed offset of the group by input partition; none where absent.
        """
        for partition, inputs in sorted(self._partitions.items()):
            count = inputs.count
            fates = self.account.fates[partition] = inputs.fates[:count]
            self.account.covered[partition] = (inputs.first, inputs.end)
            done = committed.get(partition, inputs.first)
            first_open = int(np.searchsorted(inputs.offsets[:count], done))
            for kind, rows in (
                (FaultKind.MISSING, np.flatnonzero(fates == _MISSING)),
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

    Meant for a system at rest; of one that works, what is under way counts as missing.

    Args:
        settings: Brokers, group and names of the topics.
        observers: Shown the same records.

    Raises:
        TopicError: If a topic is not there.
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
    """Committed offset of the group by partition number; partitions without one are left out."""

    async def question(admin: AIOKafkaAdminClient) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
            settings.kafka.group, partitions=list(partitions)
        )
        return offsets

    found = await admin_request(client_options(settings.kafka), question)
    return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}
