"""Compares decisions that were made again with those that were written, request by request.

At least once, a request may be decided several times, by different workers, and some of these
decisions may never be written. So a written decision is *reproduced* if any journal has the same
one, with the same bytes. It *differs* if a journal decides its request, and makes something else of
it that was written nowhere. If no journal decides its request, or only in ways that were written,
too, it is *not in a journal*: the end of the journal of a worker that was killed is lost, or a
worker wrote none. If its request comes before all of its partition that journals decide, it is
*before the journals*: of a time when workers wrote none. A repeated decision that is neither
reproduced nor differs was never written.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.intercept.interceptor import Intercepted
from stream.reproduce.outputs import OFFSET_BITS, Hashes, Keys, Outputs, hash_of, key_of
from stream.transport import FetchedRecord

MAX_OFFSET: Final = 1 << OFFSET_BITS
MAX_KEPT: Final = 1_000
"""Headers that are kept of decisions that no output has."""


@dataclass(slots=True)
class WorkerCount:
    """What was made again of one worker.

    Attributes:
        batches: Batches of its journal.
        decisions: Decisions in them.
        same: Of these, those that were written with the same bytes.
    """

    batches: int = 0
    decisions: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that was written, and a worker that decides otherwise from its journal.

    Attributes:
        output: Index of the decision among the outputs.
        worker: Number of the worker.
        batch: Number of the batch in its journal, from 1.
        passed: Whether it passes now.
        header: Its header now; None where it is not kept.
    """

    output: int
    worker: int
    batch: int
    passed: bool
    header: bytes | None


@dataclass(slots=True)
class _Unmatched:
    """Decisions that no output has."""

    keys: "array[int]" = field(default_factory=lambda: array("q"))
    workers: "array[int]" = field(default_factory=lambda: array("i"))
    batches: "array[int]" = field(default_factory=lambda: array("q"))
    passed: "array[int]" = field(default_factory=lambda: array("b"))
    headers: list[bytes] = field(default_factory=list)


class Comparison:
    """Collects what workers decide again.

    Args:
        outputs: The decisions that were written.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._same_M = np.zeros(len(outputs.key_M), np.bool_)
        self._unmatched = _Unmatched()
        self._first: dict[int, int] = {}
        self.counts: list[WorkerCount] = []

    def add_worker(self) -> None:
        """What follows is of the next worker."""
        self.counts.append(WorkerCount())

    def add(self, records: Sequence[FetchedRecord], outcome: Intercepted) -> None:
        """Compare a batch of the present worker."""
        count = self.counts[-1]
        count.batches += 1
        for record in records:
            if record.offset < self._first.get(record.partition, MAX_OFFSET):
                self._first[record.partition] = record.offset
        keys, hashes, headers, passes = [], [], [], []
        for passed, outgoing, at in (
            (False, outcome.blocked, outcome.blocked_at),
            (True, outcome.passed, outcome.passed_at),
        ):
            for output, index in zip(outgoing, at.tolist(), strict=True):
                record, header = records[index], output.headers[-1][1] or b""
                keys.append(key_of(record.partition, record.offset))
                hashes.append(hash_of(header, passed=passed))
                headers.append(header)
                passes.append(passed)
        if not keys:
            return
        count.decisions += len(keys)
        same_N = self._match(np.array(keys, np.int64), np.array(hashes, np.uint64))
        count.same += int(same_N.sum())
        unmatched = self._unmatched
        for number in np.flatnonzero(~same_N).tolist():
            unmatched.keys.append(keys[number])
            unmatched.workers.append(len(self.counts) - 1)
            unmatched.batches.append(count.batches)
            unmatched.passed.append(passes[number])
            if len(unmatched.headers) < MAX_KEPT:
                unmatched.headers.append(headers[number])

    def _match(self, key_N: Keys, hash_N: Hashes) -> npt.NDArray[np.bool_]:
        """Mark the outputs with these decisions; returns which decisions have one."""
        outputs = self._outputs
        first_N = np.searchsorted(outputs.key_M, key_N, "left")
        count_N = np.searchsorted(outputs.key_M, key_N, "right") - first_N
        same_N = np.zeros(len(key_N), np.bool_)
        for nth in range(int(count_N.max())):
            at = np.flatnonzero(count_N > nth)
            place = first_N[at] + nth
            equal = outputs.hash_M[place] == hash_N[at]
            self._same_M[place[equal]] = True
            same_N[at[equal]] = True
        return same_N

    @property
    def reproduced(self) -> int:
        """Outputs that were made again with the same bytes."""
        return int(self._same_M.sum())

    def differences(self) -> list[Difference]:
        """All decisions that differ, in the order of their requests."""
        unmatched, key_M = self._unmatched, self._outputs.key_M
        key_K = np.array(unmatched.keys, np.int64)
        rest = np.flatnonzero(~self._same_M)
        found = []
        order_K = np.argsort(key_K, kind="stable")
        at = np.searchsorted(key_K[order_K], key_M[rest])
        for output, place in zip(rest.tolist(), at.tolist(), strict=True):
            if place < len(key_K) and key_K[order_K[place]] == key_M[output]:
                k = int(order_K[place])
                header = unmatched.headers[k] if k < len(unmatched.headers) else None
                found.append(
                    Difference(
                        output, unmatched.workers[k], unmatched.batches[k],
                        bool(unmatched.passed[k]), header,
                    )
                )  # fmt: skip
        return found

    def not_in_a_journal(self) -> npt.NDArray[np.intp]:
        """Outputs whose decision no journal has, and no journal decides otherwise."""
        return self._undecided(before=False)

    def before_the_journals(self) -> npt.NDArray[np.intp]:
        """Those of requests before all that journals decide of their partition."""
        return self._undecided(before=True)

    def _undecided(self, *, before: bool) -> npt.NDArray[np.intp]:
        rest = np.flatnonzero(~self._same_M)
        key_R = self._outputs.key_M[rest]
        decided_R = np.isin(key_R, np.array(self._unmatched.keys, np.int64))
        first_P = np.array(sorted(key_of(*each) for each in self._first.items()), np.int64)
        at_R = np.searchsorted(first_P, key_R, "right")  # the next partition's first, or its own
        before_R = at_R < len(first_P)
        before_R[before_R] = (
            first_P[at_R[before_R]] >> OFFSET_BITS == key_R[before_R] >> OFFSET_BITS
        )
        found: npt.NDArray[np.intp] = rest[~decided_R & (before_R == before)]
        return found

    def never_written(self) -> int:
        """Decisions that no output has, of requests without an output that differs."""
        rest = self._outputs.key_M[~self._same_M]
        key_K = np.array(self._unmatched.keys, np.int64)
        return int((~np.isin(key_K, rest)).sum())
