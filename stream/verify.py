"""The verifier: reads input and output topics from outside and says what became of every request.

It knows the documented contract only: outputs lie on the source's partition number, the ``weir``
header of a passed or blocked record and the ``weir-offset`` header of a rejected one name the
source offset, key, value and timestamp are the source's own. Downstream's view: ``read_committed``.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import xxhash
from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.reading import read_topic
from stream.records import DECISION_HEADER, Decision

#: Header in which Weir's publisher numbers what it sends; restores order across partitions.
SEQUENCE_HEADER = "seq"


class Fate(IntEnum):
    """Which output topic a request went to."""

    PASSED = 0
    BLOCKED = 1
    REJECTED = 2


@dataclass
class Account:
    """What became of every record of the input topic.

    Attributes:
        requests: Records on the input topic.
        missing: Of these, on no output topic.
        doubled: Output records beyond the first for one input.
        altered: Outputs whose key, value or timestamp is not the input's.
        unknown: Outputs that name no input record.
        reordered: Outputs that come before an earlier one of their partition and topic.
        fates: Fate of each input in publishing order, -1 where missing; int8 of shape (requests,).
        reasons: Output records by reason (passed and blocked).
        models: Passed records by model version.
    """

    requests: int = 0
    missing: int = 0
    doubled: int = 0
    altered: int = 0
    unknown: int = 0
    reordered: int = 0
    fates: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    reasons: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)

    @property
    def exact(self) -> bool:
        """Whether every input is on exactly one output topic, once, unchanged and in order."""
        faults = self.missing + self.doubled + self.altered + self.unknown + self.reordered
        return faults == 0

    def count(self, fate: Fate) -> int:
        """How many inputs met ``fate``."""
        return int(np.count_nonzero(self.fates == fate))

    def worst_window_error(self, rate: float, window: int, warm_up: int) -> float:
        """Largest |intercepted share - rate| over every ``window`` consecutive decided requests.

        Args:
            rate: Target share r.
            window: Requests in a window.
            warm_up: Decided requests to leave out at the start.
        """
        decided = self.fates[(self.fates == Fate.PASSED) | (self.fates == Fate.BLOCKED)]
        blocked = (decided[warm_up:] == Fate.BLOCKED).astype(np.int64)
        if len(blocked) < window:
            return abs(float(blocked.mean()) - rate) if len(blocked) else 0.0
        sums = np.concatenate([[0], np.cumsum(blocked)])
        shares = (sums[window:] - sums[:-window]) / window
        return float(np.abs(shares - rate).max())

    def achieved_rate(self, warm_up: int) -> float:
        """Share intercepted of the decided requests after the first ``warm_up``."""
        decided = self.fates[(self.fates == Fate.PASSED) | (self.fates == Fate.BLOCKED)]
        after = decided[warm_up:]
        return float((after == Fate.BLOCKED).mean()) if len(after) else 0.0


async def account(settings: Settings) -> Account:
    """Read the input topic and its three output topics to their present ends."""
    topics = settings.topics
    inputs: dict[tuple[int, int], tuple[int, int, int]] = {}
    async for record in read_topic(settings.kafka, topics.requests):
        order = dict(record.headers).get(SEQUENCE_HEADER, b"")
        number = int.from_bytes(order, "big")
        inputs[record.partition, record.offset] = (_fingerprint(record), record.timestamp, number)
    result = Account(requests=len(inputs))
    fates: dict[tuple[int, int], Fate] = {}
    for topic, fate in (
        (topics.passed, Fate.PASSED),
        (topics.blocked, Fate.BLOCKED),
        (topics.rejected, Fate.REJECTED),
    ):
        last: dict[int, int] = {}
        async for record in read_topic(settings.kafka, topic):
            source = _source_offset(record, fate, result)
            coordinates = (record.partition, source)
            if coordinates not in inputs:
                result.unknown += 1
            elif coordinates in fates:
                result.doubled += 1
            else:
                fates[coordinates] = fate
                result.altered += _altered(record, inputs[coordinates][0])
                result.reordered += source < last.get(record.partition, -1)
                last[record.partition] = source
    result.missing = len(inputs) - len(fates)
    in_order = sorted(inputs, key=lambda at: (*inputs[at][1:], *at))
    result.fates = np.fromiter((fates.get(at, -1) for at in in_order), np.int8, len(in_order))
    return result


def _source_offset(record: ConsumerRecord, fate: Fate, result: Account) -> int:
    headers = dict(record.headers)
    if fate is Fate.REJECTED:
        return int(headers["weir-offset"])
    decision = Decision.from_bytes(headers[DECISION_HEADER])
    result.reasons[decision.reason.label] += 1
    if fate is Fate.PASSED:
        result.models[decision.model] += 1
    return decision.offset


def _altered(record: ConsumerRecord, fingerprint: int) -> bool:
    """Whether the output is not the input's bytes; a dead letter may say that it was cut."""
    return "weir-truncated-from" not in dict(record.headers) and _fingerprint(record) != fingerprint


def _fingerprint(record: ConsumerRecord) -> int:
    digest = xxhash.xxh3_64(repr((record.key is None, record.value is None)).encode())
    digest.update(record.timestamp.to_bytes(8, "big", signed=True))
    digest.update(len(record.key or b"").to_bytes(8, "big"))
    digest.update(record.key or b"")
    digest.update(record.value or b"")
    return digest.intdigest()
