"""Repartitioning by request id: chunks of passed requests and outcomes to records of the join.

Passed requests are partitioned by the exchange's key, outcomes by their producer's; the join needs
both in the same partition. Pure: takes a chunk, returns records per partition of the joins topic.
Those are always in Weir's own encoding, within its bounds, never a producer's bytes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import xxhash

from models import bounds
from models.features import FeatureSpec
from models.features.intake import ingest
from stream.feedback.pending import PROGRESS_KEY, PendingRequest
from stream.messages import Decision, Outcome, RecordError
from stream.messages.refusals import Refusals
from stream.transport import Chunk, FetchedRecord, Outgoing

#: Feature ids below this are stored in two bytes.
_SMALL_IDS: Final = 2**16
Rekeyed = Mapping[int, Sequence[Outgoing]]


class Rekeyer:
    """Turns chunks into records of the joins topic.

    Args:
        spec: Feature spec of the examples.
        partitions: Number of partitions of the joins topic.
        max_value_bytes: Maximum size of a request.
        refusals: Counts and logs records that cannot be read.
    """

    def __init__(
        self, spec: FeatureSpec, partitions: int, max_value_bytes: int, refusals: Refusals
    ) -> None:
        self._extractor = spec.extractor()
        self._spec_hash = spec.hash
        self._id_type = np.uint16 if spec.rows <= _SMALL_IDS else np.int32
        self._partitions = partitions
        self._max_value_bytes = max_value_bytes
        self._refusals = refusals

    def requests(self, chunk: Chunk, now_ms: int) -> Rekeyed:
        """Passed requests with their features, by partition of the joins topic."""
        values = [record.value for record in chunk.records]
        times_N = np.array([record.timestamp for record in chunk.records], np.int64)
        intake = ingest(self._extractor, values, times_N, self._max_value_bytes)
        for index, reject in intake.rejects:
            offset = chunk.records[index].offset
            why = f"{reject.code}: {reject.message}"
            self._refusals.refuse(chunk.topic, chunk.partition, offset, why, "not joined")
        ids_NC = intake.ids_NC.astype(self._id_type)
        out: dict[int, list[Outgoing]] = defaultdict(list)
        for row, index in enumerate(intake.kept):
            record = chunk.records[index]
            with self._refusals.guard(record, "not joined"):
                key = _key(intake.request_ids[row])
                pending = PendingRequest(
                    ts=_time(record),
                    partition=chunk.partition,
                    offset=record.offset,
                    spec=self._spec_hash,
                    decision=Decision.from_headers(record.headers),
                    features=ids_NC[row],
                )
                out[self._partition(key)].append(Outgoing(key, pending.to_bytes(), now_ms))
        return out

    def outcomes(self, chunk: Chunk, now_ms: int) -> Rekeyed:
        """Outcomes by partition of the joins topic."""
        out: dict[int, list[Outgoing]] = defaultdict(list)
        for record in chunk.records:
            with self._refusals.guard(record, "not joined"):
                outcome = Outcome.from_bytes(record.value)
                key = _key(outcome.request_id)
                out[self._partition(key)].append(Outgoing(key, outcome.to_bytes(), now_ms))
        return out

    def _partition(self, key: bytes) -> int:
        return xxhash.xxh3_64_intdigest(key) % self._partitions


def _key(request_id: str) -> bytes:
    key = request_id.encode()
    if not key or key == PROGRESS_KEY or len(request_id) > bounds.MAX_REQUEST_ID:
        raise RecordError(
            f"request_id: 1 to {bounds.MAX_REQUEST_ID} characters expected, {len(request_id)} found"
        )
    return key


def _time(record: FetchedRecord) -> int:
    if not 0 <= record.timestamp <= bounds.MAX_TIME_MS:
        raise RecordError(f"timestamp {record.timestamp}: 0 to {bounds.MAX_TIME_MS} ms expected")
    return record.timestamp
