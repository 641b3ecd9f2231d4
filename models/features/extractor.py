"""From bid requests to the ids of the embedding table: int32 (N, C).

Trainer and worker share this code. Ids depend on the request, its record's timestamp and the spec
only: not on the batch that the request is in, on what was extracted before, on the platform, on
Python's hash seed, or on whether the compiled scanner is built.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features.column_reader import ColumnReader
from models.features.feature import Feature, Ids
from models.features.scanner import NATIVE, NativeScanner

__all__ = ["NATIVE", "Extractor", "Scanned"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scanned:
    """The result of a scan of N values.

    Attributes:
        request_ids: Ids of the requests; None for each value that the scanner declined.
        hashes_N: xxh3_64 of the request ids; undefined where it declined.
        ids_NC: Ids of the features; undefined where it declined.
    """

    request_ids: list[str | None]
    hashes_N: npt.NDArray[np.uint64]
    ids_NC: Ids


class Extractor:
    """Extracts the features of one spec.

    It caches rows of values, so it must not be shared by threads.

    Args:
        features: The features of the spec, in order.
        native: Whether to use the compiled scanner; by default if it is built.

    Raises:
        ImportError: If ``native`` is given and the scanner is not built.
    """

    def __init__(self, features: Sequence[Feature], *, native: bool = NATIVE) -> None:
        self._columns = sum(feature.slots for feature in features)
        self._reader = ColumnReader(features)
        self._scanner = NativeScanner.of(features) if native else None
        if native and self._scanner is None:
            logger.warning(
                "the feature spec has a kind that the compiled scanner does not support: features "
                "are extracted in Python, ten times slower"
            )

    def extract(self, requests: Sequence[dict[str, Any]], times_N: npt.NDArray[np.int64]) -> Ids:
        """Ids of shape (N, C), each feature's within its own rows.

        Args:
            requests: N decoded bid requests.
            times_N: Timestamps of their records, int64 ms; any number, -1 if there is none.
        """
        return self._reader.read(requests, times_N)

    def scan(
        self, values: Sequence[bytes | None], times_N: npt.NDArray[np.int64], max_bytes: int
    ) -> Scanned:
        """Ids of the values that need no decoding; :meth:`extract` is for the rest.

        Args:
            values: N values, bid requests or not.
            times_N: Timestamps of their records, int64 ms; any number, -1 if there is none.
            max_bytes: Maximum size of a value.
        """
        hashes_N = np.empty(len(values), np.uint64)
        ids_NC = np.empty((len(values), self._columns), np.int32)
        request_ids: list[str | None] = [None] * len(values)
        if self._scanner is not None:
            request_ids = self._scanner.scan(values, times_N, max_bytes, ids_NC, hashes_N)
        return Scanned(request_ids, hashes_N, ids_NC)
