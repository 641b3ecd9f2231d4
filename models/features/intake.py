"""From the raw values of a chunk to ids and features of its requests, and a reject for all others.

The first stage for a request. The extractor's compiled scanner reads requests from their bytes.
Values that the scanner does not read (or all, if it is not built) are decoded by
:mod:`models.features.bid_request`, and their features are extracted in Python: the result is the
same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import xxhash

from models.features import Extractor
from models.features.bid_request import Reject, decode_many

TILE: Final = 64
"""Requests decoded and extracted at a time: their objects fit into the core's cache together, which
makes both stages faster than on a whole chunk (``python benchmarks/features.py``)."""


@dataclass(frozen=True, slots=True)
class Intake:
    """The ingested values of a chunk.

    Attributes:
        request_ids: Ids of the N bid requests, in order.
        hashes_N: xxh3_64 of the request ids, the seeds of all draws by request id.
        ids_NC: Feature ids.
        kept: Index in the chunk of each request's value.
        rejects: Index and reject of every other value, in order.
    """

    request_ids: list[str]
    hashes_N: npt.NDArray[np.uint64]
    ids_NC: npt.NDArray[np.int32]
    kept: Sequence[int]
    rejects: list[tuple[int, Reject]]


def ingest(
    extractor: Extractor,
    values: Sequence[bytes | None],
    times_N: npt.NDArray[np.int64],
    max_bytes: int,
) -> Intake:
    """Read a chunk; a rejected value does not affect the others.

    Args:
        extractor: Extracts the features.
        values: Record values, None being a tombstone.
        times_N: Timestamps of the records, int64 ms, for requests that state no time.
        max_bytes: Longest value that is read.
    """
    scanned = extractor.scan(values, times_N, max_bytes)
    request_ids, hashes_N, ids_NC = scanned.request_ids, scanned.hashes_N, scanned.ids_NC
    rejects: list[tuple[int, Reject]] = []
    for tile in _tiles([n for n, found in enumerate(request_ids) if found is None]):
        decoded = decode_many([values[n] for n in tile], max_bytes)
        rejects += [(tile[index], reject) for index, reject in decoded.rejects]
        if decoded.requests:
            rows = [tile[index] for index in decoded.kept]
            ids_NC[rows] = extractor.extract(decoded.requests, times_N[rows])
            found_ids = [request["id"] for request in decoded.requests]
            hashes_N[rows] = _hashes(found_ids)
            for row, request_id in zip(rows, found_ids, strict=True):
                request_ids[row] = request_id
    kept: Sequence[int] = range(len(values))
    if rejects:
        kept = [n for n, found in enumerate(request_ids) if found is not None]
        request_ids = [request_ids[n] for n in kept]
        hashes_N, ids_NC = hashes_N[kept], ids_NC[kept]
    return Intake(cast("list[str]", request_ids), hashes_N, ids_NC, kept, rejects)


def _tiles(indices: list[int]) -> Iterable[list[int]]:
    return (indices[start : start + TILE] for start in range(0, len(indices), TILE))


def _hashes(request_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    digests = (xxhash.xxh3_64_intdigest(request_id.encode()) for request_id in request_ids)
    return np.fromiter(digests, np.uint64, len(request_ids))
