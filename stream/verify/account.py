"""The verifier's result: the fate of every request, and every fault with its coordinates."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Fate(IntEnum):
    """Output topic of a request."""

    PASSED = 0
    BLOCKED = 1
    REJECTED = 2


class FaultKind(StrEnum):
    """Kinds of faults; each is counted separately."""

    MISSING = "missing"  # an input on no output topic
    DOUBLED = "doubled"  # an output after the first of the same input
    ALTERED = "altered"  # an output whose key, value, timestamp or headers are not the input's
    UNKNOWN = "unknown"  # an output that names no input
    REORDERED = "reordered"  # an output that follows, in its partition, that of a later input
    UNCOMMITTED = "uncommitted"  # an input at or after the group's committed offset
    OPEN = "open"  # an offset after the start of a transaction that may still be committed
    GAP = "gap"  # an offset that was deleted from the input, apparently without being filtered


class Fault(NamedTuple):
    """One fault and its coordinates.

    Attributes:
        kind: Kind of the fault.
        partition: Partition number of both source and output.
        source: Offset in the input topic, -1 if unknown.
        topic: Output topic, or the input topic if the fault has no output.
        offset: Offset in ``topic``, -1 if the fault has no output.
    """

    kind: FaultKind
    partition: int
    source: int
    topic: str
    offset: int

    def __str__(self) -> str:
        place = f"{self.topic}[{self.partition}]" + (f"@{self.offset}" if self.offset >= 0 else "")
        source = f"@{self.source}" if self.source >= 0 else ""
        return f"{self.kind}: input [{self.partition}]{source}, at {place}"


@dataclass
class Account:
    """The fate of every record of the input topic.

    Attributes:
        requests: Records on the input topic; a batch that cannot be read counts as one.
        unreadable: Batches that cannot be read.
        outputs: Output records.
        counts: Faults by kind.
        faults: The first few faults of each kind.
        fates: Per input partition the fate of each of its records, in order (int8); negative for
            none.
        covered: Per input partition the offsets [first, end) that the input topic holds, to which
            the account applies.
        gaps: Per input partition the offsets [start, end) directly before, which were deleted
            apparently without being filtered.
        expired: Outputs whose inputs were deleted since.
        log_append_time: Outputs whose topic replaces the source's timestamp by the broker's time;
            these timestamps could not be compared.
    """

    requests: int = 0
    unreadable: int = 0
    outputs: int = 0
    counts: Counter[FaultKind] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    fates: dict[int, npt.NDArray[np.int8]] = field(default_factory=dict)
    covered: dict[int, tuple[int, int]] = field(default_factory=dict)
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)
    expired: int = 0
    log_append_time: int = 0

    @property
    def exact(self) -> bool:
        """Whether no fault of any kind was found."""
        return not self.counts.total()

    @property
    def missing(self) -> int:
        """Inputs on no output topic: lost."""
        return self.counts[FaultKind.MISSING]

    @property
    def doubled(self) -> int:
        """Outputs after the first of the same input."""
        return self.counts[FaultKind.DOUBLED]

    def count(self, fate: Fate) -> int:
        """Number of inputs with this fate."""
        return sum(int(np.count_nonzero(fates == fate)) for fates in self.fates.values())

    def summary(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {
            "requests": self.requests,
            "unreadable": self.unreadable,
            **{fate.name.lower(): self.count(fate) for fate in Fate},
            **{kind.value: self.counts[kind] for kind in FaultKind},
            "expired": self.expired,
            "log_append_time": self.log_append_time,
            "covered": {str(number): list(span) for number, span in self.covered.items()},
            "gaps": {str(number): list(span) for number, span in self.gaps.items()},
            "exact": self.exact,
        }

    def remarks(self) -> list[str]:
        """Sentences that explain the figures where they are not complete."""
        remarks = [
            f"[{number}]: offsets {start} to {end - 1} were deleted, and no output or committed "
            "offset shows that they were filtered before that"
            for number, (start, end) in self.gaps.items()
        ]
        if late := {number: first for number, (first, _) in self.covered.items() if first > 0}:
            begun = ", ".join(f"[{number}]@{first}" for number, first in sorted(late.items()))
            remarks.append(
                f"the input topic begins at {begun}; earlier requests cannot be verified "
                f"({self.expired} outputs belong to them)"
            )
        if self.log_append_time:
            remarks.append(
                f"{self.log_append_time} outputs have the broker's time as timestamp, because "
                "message.timestamp.type of their topic is LogAppendTime; it was not compared"
            )
        if self.counts[FaultKind.OPEN]:
            remarks.append(
                f"{self.counts[FaultKind.OPEN]} offsets lie behind the start of a transaction that "
                "is still open; their records are not counted"
            )
        return remarks
