"""From bid requests to the ids of the embedding table: int32 (N, C).

The one code path of trainer and worker. Ids depend on the request, its record's timestamp and the
spec alone: not on the batch around it, on what was extracted before, on the platform, on Python's
hash seed, or on whether the compiled scanner is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features.column_reader import ColumnReader
from models.features.feature import Feature
from models.features.scanner import NATIVE, NativeScanner

__all__ = ["NATIVE", "Extractor", "Scanned"]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan found in N values.

    Attributes:
        request_ids: Ids of requests; None for each value that it gave up on.
        hashes_N: xxh3_64 of these; anything where it gave up.
        ids_NC: Ids of their features; anything where it gave up.
    """

    request_ids: list[str | None]
    hashes_N: npt.NDArray[np.uint64]
    ids_NC: npt.NDArray[np.int32]


class Extractor:
    """Extracts the features of one spec.

    It remembers rows of values that it has seen, within bounds, so it is not shared by threads.

    Args:
        features: Those of the spec, in order.
        native: Whether the compiled scanner reads bytes; by default where it is built.

    Raises:
        ImportError: If ``native`` is asked for and it is not built.
    """

    def __init__(self, features: Sequence[Feature], *, native: bool = NATIVE) -> None:
        self._columns = sum(feature.slots for feature in features)
        self._reader = ColumnReader(features)
        self._scanner = NativeScanner(features) if native else None

    def extract(
        self, requests: Sequence[dict[str, Any]], times_N: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int32]:
        """Ids of shape (N, C), each feature's within its own rows.

        Args:
            requests: N decoded bid requests.
            times_N: Timestamps of their records, int64 ms; any number, -1 where there is none.
        """
        return self._reader.read(requests, times_N)

    def scan(
        self, values: Sequence[bytes | None], times_N: npt.NDArray[np.int64], max_bytes: int
    ) -> Scanned:
        """Ids of what needs no decoding; the rest is for :meth:`extract`.

        Args:
            values: N values, bid requests or not.
            times_N: Timestamps of their records, int64 ms; any number, -1 where there is none.
            max_bytes: Longest value that is read.
        """
        hashes_N = np.empty(len(values), np.uint64)
        ids_NC = np.empty((len(values), self._columns), np.int32)
        request_ids: list[str | None] = [None] * len(values)
        if self._scanner is not None:
            request_ids = self._scanner.scan(values, times_N, max_bytes, ids_NC, hashes_N)
        return Scanned(request_ids, hashes_N, ids_NC)
