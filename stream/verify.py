"""The verifier: reads input and output topics from outside and accounts for every request.

It states whether every input is on exactly one output topic exactly once, unchanged, in the order
of its partition, with the group's offsets committed up to the end. It knows nothing of Weir but
the documented contract: outputs lie on the source's partition number with the source's key, value,
timestamp and headers; the ``weir`` header of a passed or blocked record, and the ``weir-offset``
header of a rejected one, name the source offset. It reads as downstream does, ``read_committed``,
up to the last stable offset. :class:`Verifier` is the account, :func:`account` feeds it.

A batch of requests that cannot be read counts as one request, at its first offset: the worker
writes one dead letter for it.

Memory is 17 bytes per offset of the input topic, whatever the requests weigh; while a partition's
columns grow, up to three times that.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from models.batches import RefusedBatch
from models.kafka import ask, client_options
from models.settings import Settings
from stream.account import Account, Fate, Fault, FaultKind
from stream.evidence import NOWHERE, input_hashes, output_evidence
from stream.reading import TopicReader

#: How many faults of each kind are listed; all are counted.
LISTED: Final = 5

_NO_INPUT: Final = -2
_MISSING: Final = -1


class Observer(Protocol):
    """Sees all that the verifier reads: first every input, then every output."""

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the input topic."""

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the output topic of ``fate``."""


class Inputs:
    """One partition of the input topic, as columns by offset that grow.

    Attributes:
        whole: Content hash of each, uint64.
        cut: The same of each as a truncated dead letter shows it.
        fates: Where its first output was found, int8.
    """

    def __init__(self) -> None:
        self.whole = np.zeros(0, np.uint64)
        self.cut = np.zeros(0, np.uint64)
        self.fates = np.zeros(0, np.int8)
        self.end = 0

    def add(self, records: Sequence[ConsumerRecord]) -> None:
        """The next records, in offset order; offsets left out hold no input."""
        first, self.end = self.end, records[-1].offset + 1
        if self.end > len(self.fates):
            size = max(self.end, 2 * len(self.fates), 1024)
            for column in ("whole", "cut", "fates"):
                grown = np.zeros(size, getattr(self, column).dtype)
                grown[:first] = getattr(self, column)[:first]
                setattr(self, column, grown)
        at_N = np.fromiter((r.offset for r in records), np.int64, len(records))
        hashes_N2 = np.array([input_hashes(r) for r in records], np.uint64)
        self.fates[first : self.end] = _NO_INPUT
        self.fates[at_N] = _MISSING
        self.cut[at_N], self.whole[at_N] = hashes_N2.T

    def settle(
        self,
        fate: Fate,
        source_N: npt.NDArray[np.int64],
        hash_N: npt.NDArray[np.uint64],
        cut_N: npt.NDArray[np.bool_],
    ) -> "Settled":
        """Note the fate of the inputs of N outputs.

        Args:
            fate: Topic of the outputs.
            source_N: Source offsets that they name.
            hash_N: Their content hashes.
            cut_N: Whether they say that their value was cut.
        """
        known_N = (source_N >= 0) & (source_N < self.end)
        known_N[known_N] = self.fates[source_N[known_N]] != _NO_INPUT
        rows_K = np.flatnonzero(known_N)
        at_K = source_N[rows_K]
        first_N, altered_N = np.zeros_like(known_N), np.zeros_like(known_N)
        first_N[rows_K[np.unique(at_K, return_index=True)[1]]] = True
        first_N[rows_K] &= self.fates[at_K] == _MISSING
        altered_N[rows_K] = hash_N[rows_K] != np.where(
            cut_N[rows_K], self.cut[at_K], self.whole[at_K]
        )
        self.fates[source_N[first_N]] = fate
        return Settled(known_N, first_N, altered_N)


class Settled(NamedTuple):
    """What N outputs are to their inputs, bool (N,) each.

    Attributes:
        known_N: They name an input.
        first_N: No output before them named it.
        altered_N: They name an input whose content is another.
    """

    known_N: npt.NDArray[np.bool_]
    first_N: npt.NDArray[np.bool_]
    altered_N: npt.NDArray[np.bool_]


class Verifier:
    """Builds the account; fed with all inputs, then all outputs, then what was committed.

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

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the input topic."""
        self._partitions.setdefault(partition, Inputs()).add(records)
        self.account.requests += len(records)
        self.account.unreadable += sum(isinstance(record, RefusedBatch) for record in records)

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """The next records of one partition of the output topic of ``fate``."""
        self.account.outputs += len(records)
        count = len(records)
        outputs = [output_evidence(fate, self._requests, record) for record in records]
        source_N = np.fromiter((output.source for output in outputs), np.int64, count)
        hash_N = np.fromiter((output.content for output in outputs), np.uint64, count)
        cut_N = np.fromiter((output.cut for output in outputs), np.bool_, count)
        inputs = self._partitions.setdefault(partition, Inputs())
        known_N, first_N, altered_N = inputs.settle(fate, source_N, hash_N, cut_N)
        for kind, wrong_N in (
            (FaultKind.UNKNOWN, ~known_N),
            (FaultKind.DOUBLED, known_N & ~first_N),
            (FaultKind.ALTERED, altered_N),
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
        """Output offsets from ``stable`` to ``end`` wait for the end of a transaction."""
        where = Fault(FaultKind.OPEN, partition, NOWHERE, topic, stable)
        self._found(FaultKind.OPEN, end - stable, [where])

    def finish(self, committed: Mapping[int, int]) -> Account:
        """The account, after everything was read.

        Args:
            committed: Committed offset of the group by input partition; none where absent.
        """
        for partition, inputs in sorted(self._partitions.items()):
            fates = self.account.fates[partition] = inputs.fates[: inputs.end]
            missing = np.flatnonzero(fates == _MISSING)
            done = committed.get(partition, 0)
            uncommitted = done + np.flatnonzero(fates[done:] != _NO_INPUT)
            for kind, rows in (
                (FaultKind.MISSING, missing),
                (FaultKind.UNCOMMITTED, uncommitted),
            ):
                self._found(
                    kind,
                    len(rows),
                    (
                        Fault(kind, partition, source, self._requests, NOWHERE)
                        for source in rows[:LISTED].tolist()
                    ),
                )
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

    found = await ask(client_options(settings.kafka), question)
    return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}
