"""The records of an input partition, as columns, and how outputs are matched with them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from aiokafka import ConsumerRecord

from stream.verify.account import Fate
from stream.verify.evidence import NOWHERE, Evidence, input_hashes

MISSING: Final = -1
"""Stands for the fate of an input without an output."""
_COLUMNS: Final = {
    "offsets": np.int64,
    "timestamps": np.int64,
    "whole": np.uint64,
    "cut": np.uint64,
    "fates": np.int8,
}


class Inputs:
    """One partition of the input topic, as growing columns with a row per record.

    Attributes:
        count: Number of records.
        offsets: Offset of each, increasing, int64.
        timestamps: Timestamp of each in ms, int64.
        whole: Content hash of each, uint64.
        cut: Content hash of each as a truncated dead letter has it, uint64.
        fates: Topic of the first output of each, int8; `MISSING` for none.
        first: Offset at which the partition begins; records before it were deleted.
        end: Offset up to which the partition was read.
        before: Highest offset before `first` that an output names; -1 for none.
    """

    def __init__(self) -> None:
        self.offsets = np.zeros(0, np.int64)
        self.timestamps = np.zeros(0, np.int64)
        self.whole = np.zeros(0, np.uint64)
        self.cut = np.zeros(0, np.uint64)
        self.fates = np.zeros(0, np.int8)
        self.count = 0
        self.first = 0
        self.end = 0
        self.before = NOWHERE

    def add(self, records: Sequence[ConsumerRecord]) -> None:
        """Append the next records, in offset order."""
        start, self.count = self.count, self.count + len(records)
        if self.count > len(self.fates):
            size = max(self.count, 2 * len(self.fates), 1024)
            for column, kind in _COLUMNS.items():
                grown = np.zeros(size, kind)
                grown[:start] = getattr(self, column)[:start]
                setattr(self, column, grown)
        new = slice(start, self.count)
        self.offsets[new] = [record.offset for record in records]
        self.timestamps[new] = [record.timestamp for record in records]
        hashes_N2 = np.array([input_hashes(record) for record in records], np.uint64)
        self.cut[new], self.whole[new] = hashes_N2.T
        self.fates[new] = MISSING
        self.end = max(self.end, records[-1].offset + 1)

    def match(self, fate: Fate, outputs: Sequence[Evidence]) -> "Matches":
        """Match N outputs on the topic of ``fate`` with their inputs, and record the fate."""
        count = len(outputs)
        source_N = np.fromiter((output.source for output in outputs), np.int64, count)
        hash_N = np.fromiter((output.content for output in outputs), np.uint64, count)
        timestamp_N = np.fromiter((output.timestamp for output in outputs), np.int64, count)
        cut_N = np.fromiter((output.cut for output in outputs), np.bool_, count)
        appended_N = np.fromiter((output.appended for output in outputs), np.bool_, count)
        row_N = np.searchsorted(self.offsets[: self.count], source_N)
        known_N = row_N < self.count
        known_N[known_N] = self.offsets[row_N[known_N]] == source_N[known_N]
        outputs_K = np.flatnonzero(known_N)
        row_K = row_N[outputs_K]
        first_N, altered_N = np.zeros_like(known_N), np.zeros_like(known_N)
        first_N[outputs_K[np.unique(row_K, return_index=True)[1]]] = True
        first_N[outputs_K] &= self.fates[row_K] == MISSING
        content_K = np.where(cut_N[outputs_K], self.cut[row_K], self.whole[row_K])
        moved_K = timestamp_N[outputs_K] != self.timestamps[row_K]
        altered_N[outputs_K] = (hash_N[outputs_K] != content_K) | (moved_K & ~appended_N[outputs_K])
        self.fates[row_N[first_N]] = fate
        expired_N = ~known_N & (source_N >= 0) & (source_N < self.first)
        if expired_N.any():
            self.before = max(self.before, int(source_N[expired_N].max()))
        appended = int(np.count_nonzero(moved_K & appended_N[outputs_K]))
        return Matches(source_N, known_N, first_N, altered_N, expired_N, appended)

    def gap(self, committed: int | None) -> tuple[int, int] | None:
        """Offsets that were deleted, apparently without having been filtered."""
        start = self.before + 1 if self.before >= 0 else None
        if committed is not None and committed < self.first:
            start = max(committed, start or 0)
        return None if start is None or start >= self.first else (start, self.first)


class Matches(NamedTuple):
    """N outputs matched with their inputs; arrays are bool (N,) unless stated otherwise.

    Attributes:
        source_N: Source offset that each output names, int64.
        known_N: It names an input.
        first_N: It is the first output that names this input.
        altered_N: Its content or timestamp differs from the input's.
        expired_N: It names an input that the topic no longer holds.
        appended: Number of outputs whose timestamp the broker replaced by its own time.
    """

    source_N: npt.NDArray[np.int64]
    known_N: npt.NDArray[np.bool_]
    first_N: npt.NDArray[np.bool_]
    altered_N: npt.NDArray[np.bool_]
    expired_N: npt.NDArray[np.bool_]
    appended: int
