"""Training examples from the records of the pass topic. No I/O, no clock, no state."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from models import bounds
from models.features import Extractor, FeatureSpec
from models.features.intake import ingest
from stream.messages import Decision, RecordError, TrainingExample
from stream.messages.refusals import Refusals
from stream.policy.scenario_index import scenario_feature
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
        scenario_path: Path of the scenario's name in a request; empty if there are none.

    Raises:
        PolicyError: If ``scenario_path`` is not a path to one value.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        keep_share: float,
        max_value_bytes: int,
        refusals: Refusals,
        scenario_path: str = "",
    ) -> None:
        features = spec.features
        if scenario_path:  # read with the features, as the intercept workers do
            features = (*features, scenario_feature(scenario_path, spec.columns))
        self._extractor = Extractor(features)
        self._columns = spec.columns
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
        features = intake.ids_NC[:, : self._columns].tolist()
        scenarios = self._scenarios(intake.ids_NC)
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
                    scenarios[row],
                ).to_bytes()
                examples.append(Outgoing(key, value, now_ms, source=record.offset))
        return Made(examples, left_out, len(records) - len(examples) - left_out)

    def _scenarios(self, ids_NC: npt.NDArray[np.int32]) -> list[int]:
        """Hash of each request's scenario, 0 without one."""
        if ids_NC.shape[1] == self._columns:
            return [0] * len(ids_NC)
        return list(ids_NC[:, self._columns].tolist())

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
