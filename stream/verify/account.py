"""What the verifier states: the fate of every request, and every fault with its coordinates."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Fate(IntEnum):
    """Which output topic a request went to."""

    PASSED = 0
    BLOCKED = 1
    REJECTED = 2


class FaultKind(StrEnum):
    """What can be wrong; each is counted on its own."""

    MISSING = "missing"  # an input on no output topic
    DOUBLED = "doubled"  # an output beyond the first for one input
    ALTERED = "altered"  # an output whose key, value, timestamp or headers are not the input's
    UNKNOWN = "unknown"  # an output that names no input
    REORDERED = "reordered"  # an output behind one, in its partition, of a later input
    UNCOMMITTED = "uncommitted"  # an input at or behind the group's committed offset
    OPEN = "open"  # an offset behind the start of a transaction that may still be committed
    GAP = "gap"  # an offset that was deleted from the input without a sign that it was filtered


class Fault(NamedTuple):
    """One fault and where it is.

    Attributes:
        kind: What is wrong.
        partition: Partition number, of source and output alike.
        source: Offset in the input topic, -1 where none is known.
        topic: Output topic, or the input topic where the fault has no output.
        offset: Offset in ``topic``, -1 where the fault is one of the input alone.
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
    """What became of every record of the input topic.

    Attributes:
        requests: Records on the input topic; a batch that cannot be read counts as one.
        unreadable: How many such batches there are.
        outputs: Output records read.
        counts: Faults by kind.
        faults: The first few of each kind.
        fates: Per input partition the fate of every record in it, in order (int8); negative where
            there is none.
        covered: Per input partition the offsets [first, end) that the input topic holds and that
            the account is about.
        gaps: Per input partition the offsets [start, end) directly before, which were deleted
            though nothing says that they were filtered.
        expired: Outputs whose inputs were deleted since.
        log_append_time: Outputs with the broker's time in place of their source's timestamp,
            because their topic says so; these timestamps could not be compared.
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
        """Output records beyond the first for one input."""
        return self.counts[FaultKind.DOUBLED]

    def count(self, fate: Fate) -> int:
        """How many inputs met ``fate``."""
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
        """What the figures leave to be said, in words."""
        said = [
            f"[{number}]: offsets {start} to {end - 1} were deleted, and no output or commit says "
            "that they were filtered before that"
            for number, (start, end) in self.gaps.items()
        ]
        if late := {number: first for number, (first, _) in self.covered.items() if first > 0}:
            begun = ", ".join(f"[{number}]@{first}" for number, first in sorted(late.items()))
            said.append(
                f"the input topic begins at {begun}; of requests before, this says nothing "
                f"({self.expired} outputs are of such)"
            )
        if self.log_append_time:
            said.append(
                f"{self.log_append_time} outputs have the broker's time for a timestamp, because "
                "message.timestamp.type of their topic is LogAppendTime; theirs was not compared"
            )
        if self.counts[FaultKind.OPEN]:
            said.append(
                f"{self.counts[FaultKind.OPEN]} offsets lie behind the start of a transaction that "
                "is still open; what they hold is not counted here"
            )
        return said
