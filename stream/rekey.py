"""Re-keying by request id: chunks of passed requests and of outcomes to records of the join.

Passed requests lie where the exchange's key put them, outcomes where their producer's did; the
join needs both in one place. Pure: a chunk in, records per partition of the joins topic out.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import xxhash

from models.features import FeatureSpec
from stream.intake import take_in
from stream.pending import PROGRESS_KEY, PendingRequest
from stream.records import DECISION_HEADER, Decision, Outcome, RecordError
from stream.transport import Chunk, Outgoing

logger = logging.getLogger(__name__)

MAX_ID_BYTES: Final = 4096
Rekeyed = Mapping[int, Sequence[Outgoing]]
Headers = Sequence[tuple[str, bytes | None]]


class Rekeyer:
    """Turns chunks into records of the joins topic.

    Args:
        spec: Makes the features of the examples.
        partitions: Partitions of the joins topic.
        max_value_bytes: Longest request that is read.
        malformed: Called with the source topic for every record that cannot be read.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        partitions: int,
        max_value_bytes: int,
        malformed: Callable[[str], None],
    ) -> None:
        self._extractor = spec.extractor()
        self._spec_hash = spec.hash
        self._partitions = partitions
        self._max_value_bytes = max_value_bytes
        self._malformed = malformed

    def requests(self, chunk: Chunk, now_ms: int) -> Rekeyed:
        """Passed requests with their features, by partition of the joins topic."""
        values = [record.value for record in chunk.records]
        times_N = np.array([record.timestamp for record in chunk.records], np.int64)
        intake = take_in(self._extractor, values, times_N, self._max_value_bytes)
        for index, reject in intake.rejects:
            self._refuse(chunk, index, f"{reject.code}: {reject.message}")
        out: dict[int, list[Outgoing]] = defaultdict(list)
        for row, index in enumerate(intake.kept):
            record = chunk.records[index]
            try:
                decision = _decision(record.headers)
                key = _key(intake.request_ids[row])
            except RecordError as error:
                self._refuse(chunk, index, str(error))
                continue
            pending = PendingRequest(
                ts=record.timestamp,
                partition=chunk.partition,
                offset=record.offset,
                spec=self._spec_hash,
                decision=decision,
                features=intake.ids_NC[row],
            )
            out[self._partition(key)].append(Outgoing(key, pending.to_bytes(), now_ms))
        return out

    def outcomes(self, chunk: Chunk, now_ms: int) -> Rekeyed:
        """Outcomes as their producer wrote them, by partition of the joins topic."""
        out: dict[int, list[Outgoing]] = defaultdict(list)
        for index, record in enumerate(chunk.records):
            try:
                key = _key(Outcome.from_bytes(record.value).request_id)
            except RecordError as error:
                self._refuse(chunk, index, str(error))
                continue
            out[self._partition(key)].append(Outgoing(key, record.value, now_ms))
        return out

    def _partition(self, key: bytes) -> int:
        return xxhash.xxh3_64_intdigest(key) % self._partitions

    def _refuse(self, chunk: Chunk, index: int, why: str) -> None:
        offset = chunk.records[index].offset
        logger.warning("%s[%d]@%d: not joined: %s", chunk.topic, chunk.partition, offset, why)
        self._malformed(chunk.topic)


def _key(request_id: str) -> bytes:
    key = request_id.encode()
    if not key or key == PROGRESS_KEY or len(key) > MAX_ID_BYTES:
        raise RecordError(f"request_id: 1 to {MAX_ID_BYTES} bytes expected, {len(key)} found")
    return key


def _decision(headers: Headers) -> bytes:
    for name, value in headers:
        if name == DECISION_HEADER and value is not None:
            Decision.from_bytes(value)
            return value
    raise RecordError(f"the header {DECISION_HEADER!r} is missing")
