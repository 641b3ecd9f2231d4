"""Training examples from the records of the pass topic. No I/O, no clock, no state."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import xxhash

from models import bounds
from models.features import FeatureSpec
from models.features.intake import ingest
from stream.messages import Decision, RecordError, TrainingExample
from stream.messages.refusals import Refusals
from stream.transport import FetchedRecord, Outgoing

#: The plain hash of the id draws for exploration; the sample must not depend on that draw.
_SEED: Final = 0x6B6570
_HASHES: Final = 2**64
NO_EXAMPLE: Final = "no example"


class Made(NamedTuple):
    """What became of N records.

    Attributes:
        examples: Records for the examples' topic, in the order of their sources.
        left_out: Number of requests that are not in the sample.
        refused: Number of records that are no readable passed request.
    """

    examples: list[Outgoing]
    left_out: int
    refused: int


class ExampleMaker:
    """Makes one example of every passed request, or of a sample of them by the hash of their id.

    The same record always gives the same example, whatever the records around it. Whether a request
    is in the sample depends on its id and ``keep_share`` alone, so weights of 1 / ``keep_share``
    keep every sum over examples unbiased (Horvitz and Thompson 1952), and a smaller share keeps a
    subset of a larger one.

    Args:
        spec: Feature spec of the examples.
        keep_share: Share of the requests that become examples, in (0, 1].
        max_value_bytes: Maximum size of a request.
        refusals: Counts and logs records that cannot be read.
    """

    def __init__(
        self, spec: FeatureSpec, keep_share: float, max_value_bytes: int, refusals: Refusals
    ) -> None:
        self._extractor = spec.extractor()
        self._spec_hash = spec.hash
        self._keeps_all = keep_share == 1.0
        self._below = int(keep_share * _HASHES)
        self._weight = 1.0 / keep_share
        self._max_value_bytes = max_value_bytes
        self._refusals = refusals

    def make(self, records: Sequence[FetchedRecord], now_ms: int) -> Made:
        """Examples of records of the pass topic; a record that cannot be read affects no other.

        Args:
            records: Records as the intercept workers write them.
            now_ms: Timestamp of the examples' records, so that their topic keeps them for its
                retention from now on; the time of the request is within the example.
        """
        values = [record.value for record in records]
        times_N = np.array([record.timestamp for record in records], np.int64)
        intake = ingest(self._extractor, values, times_N, self._max_value_bytes)
        for index, reject in intake.rejects:
            at = records[index]
            why = f"{reject.code}: {reject.message}"
            self._refusals.refuse(at.topic, at.partition, at.offset, why, NO_EXAMPLE)
        features = intake.ids_NC.tolist()
        examples: list[Outgoing] = []
        left_out = 0
        for row, index in enumerate(intake.kept):
            record = records[index]
            with self._refusals.guard(record, NO_EXAMPLE):
                key = _key(intake.request_ids[row])
                if not self._keeps(key):
                    left_out += 1
                    continue
                value = TrainingExample(
                    intake.request_ids[row],
                    _time(record),
                    self._spec_hash,
                    features[row],
                    Decision.from_headers(record.headers),
                    self._weight,
                ).to_bytes()
                examples.append(Outgoing(key, value, now_ms, source=record.offset))
        return Made(examples, left_out, len(records) - len(examples) - left_out)

    def _keeps(self, key: bytes) -> bool:
        return self._keeps_all or xxhash.xxh3_64_intdigest(key, _SEED) < self._below


def _key(request_id: str) -> bytes:
    if not 0 < len(request_id) <= bounds.MAX_REQUEST_ID:
        raise RecordError(
            f"request_id: 1 to {bounds.MAX_REQUEST_ID} characters expected, {len(request_id)} found"
        )
    return request_id.encode()


def _time(record: FetchedRecord) -> int:
    if not 0 <= record.timestamp <= bounds.MAX_TIME_MS:
        raise RecordError(f"timestamp {record.timestamp}: 0 to {bounds.MAX_TIME_MS} ms expected")
    return record.timestamp
