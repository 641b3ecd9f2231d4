"""From the raw values of a chunk to what is scored: ids, features, and a reject for all else.

The first step in the way of a request. The extractor's scanner reads requests from their bytes.
Where it gives up on a value, or is not built, the value is decoded and judged as
:mod:`models.features.bid_request` says and its features are extracted in Python: the result is the
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
"""Requests decoded and extracted at a time: their objects fit the core's cache together, which
makes both steps faster than on a whole chunk (``python benchmarks/features.py``)."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of a chunk's values.

    Attributes:
        request_ids: Ids of the N bid requests, in order.
        hashes_N: xxh3_64 of these: what every draw by request id starts from.
        ids_NC: Ids of their features.
        kept: For each request, the index of its value in the chunk.
        rejects: Index and reject of every other value, in order.
    """

    request_ids: list[str]
    hashes_N: npt.NDArray[np.uint64]
    ids_NC: npt.NDArray[np.int32]
    kept: Sequence[int]
    rejects: list[tuple[int, Reject]]


def take_in(
    extractor: Extractor,
    values: Sequence[bytes | None],
    times_N: npt.NDArray[np.int64],
    max_bytes: int,
) -> Intake:
    """Read a chunk; a bad value never hides a good one.

    Args:
        extractor: Extracts the features.
        values: Record values, None being a tombstone.
        times_N: Timestamps of the records, int64 ms: the time of a request that says none.
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
