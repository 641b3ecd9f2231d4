"""Selection of the newest requests of a store, without reading the rest of it.

Hours are read from the newest to the oldest until they hold enough distinct requests. A repeated
delivery in an hour that is not read is older than the one that counts, so nothing is missed.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from trainer.store.event_table import DataFile
from trainer.store.files import FileReader
from trainer.store.join import BucketJoin
from trainer.store.schemas import HOUR_MS
from trainer.store.spill import Records, buckets_for

_SPARE: Final = 1.25
"""Buckets are sized for this many times the wanted rows, because of repeated deliveries."""


class NewestRequests:
    """The `most` newest requests of a spec, by bucket.

    Among requests of the same millisecond at the limit, the hash of the id decides.

    Args:
        files: Files of the examples, oldest hour first.
        most: Largest number of requests.
        spec: Hash of the feature spec.
        reader: Reads the files.
        folder: An existing folder for temporary files.

    Attributes:
        join: The join that holds them.
        files: Files that were read, with their numbers, oldest first.
        first_ms: Time before which there is none of the requests.
        left_out: Deliveries of other hours, and requests over the limit.
    """

    def __init__(
        self, files: list[DataFile], most: int, spec: str, reader: FileReader, folder: Path
    ) -> None:
        rows = min(sum(file.rows for file in files), int(most * _SPARE))
        self.join = BucketJoin(folder, buckets_for(rows), reader)
        self.files: list[tuple[int, DataFile]] = []
        self._spec = spec
        self._waiting = list(enumerate(files))
        distinct = self._read(most)
        self.files.sort()
        self.left_out = sum(file.rows for _, file in self._waiting)
        self.first_ms = min((file.first_ms for _, file in self.files), default=0)
        self._limit = (self.first_ms, 0)
        if distinct > most:
            self.left_out += distinct - most
            self._limit = self._limit_at(distinct - most)

    def selected(self, bucket: int) -> Records:
        """The selected requests of a bucket."""
        requests_N = self.join.requests(bucket)
        first_ms, first_id = self._limit
        ts_N, id_N = requests_N["ts"], requests_N["id"]
        chosen_N = (ts_N > first_ms) | ((ts_N == first_ms) & (id_N >= np.uint64(first_id)))
        return np.asarray(requests_N[chosen_N])

    def _read(self, most: int) -> int:
        """Read hours until there are enough distinct requests; their number."""
        distinct = 0
        while self._waiting and distinct < most:
            missing = most - distinct
            while self._waiting and missing > 0:
                missing -= self._read_hour()
            distinct = sum(len(self.join.keep_newest(bucket)) for bucket in self.join.buckets)
        return distinct

    def _read_hour(self) -> int:
        hour = self._waiting[-1][1].hour
        rows = 0
        while self._waiting and self._waiting[-1][1].hour == hour:
            number, file = self._waiting.pop()
            self.files.append((number, file))
            rows += self.join.add_requests(file, number, self._spec)
        return rows

    def _limit_at(self, excess: int) -> tuple[int, int]:
        """Time and id of the oldest request that is kept if that many are left out."""
        per_hour: Counter[int] = Counter()
        for bucket in self.join.buckets:
            hours_N, counts_N = np.unique(
                self.join.requests(bucket)["ts"] // HOUR_MS, return_counts=True
            )
            per_hour.update(dict(zip(hours_N.tolist(), counts_N.tolist(), strict=True)))
        hours = sorted(per_hour)
        index, excess = _position(np.array([per_hour[hour] for hour in hours]), excess)
        hour = hours[index]
        per_ms = np.zeros(HOUR_MS, np.int64)
        for bucket in self.join.buckets:
            ts_N = self.join.requests(bucket)["ts"]
            per_ms += np.bincount(ts_N[ts_N // HOUR_MS == hour] % HOUR_MS, minlength=HOUR_MS)
        ms, excess = _position(per_ms, excess)
        first_ms = hour * HOUR_MS + ms
        ids = [self._ids_at(bucket, first_ms) for bucket in self.join.buckets]
        return first_ms, int(np.sort(np.concatenate(ids))[excess])

    def _ids_at(self, bucket: int, ms: int) -> npt.NDArray[np.uint64]:
        requests_N = self.join.requests(bucket)
        return np.asarray(requests_N["id"][requests_N["ts"] == ms])


def _position(counts_K: npt.NDArray[np.int64], skipped: int) -> tuple[int, int]:
    """Group of the element after that many skipped ones, and how many of the group are skipped."""
    ends_K = np.cumsum(counts_K)
    group = int(np.searchsorted(ends_K, skipped, side="right"))
    return group, skipped - int(ends_K[group] - counts_K[group])
