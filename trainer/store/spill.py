"""Fixed-size records on disk, in buckets: the external half of a hash join.

Records are appended to one file per bucket, and a bucket is read whole. So memory is that of the
largest bucket, however many records there are.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

BUCKET_ROWS: Final = 500_000
"""Rows per bucket of a hash join; a row of both sides takes some 100 bytes while it is joined."""
Records = npt.NDArray[np.void]
Ints = npt.NDArray[np.integer[Any]]


class Spill:
    """Records by bucket in files of a folder.

    Args:
        folder: An existing folder.
        name: Prefix of the files.
        dtype: Structured dtype of a record.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype[np.void]) -> None:
        self._folder = folder
        self._name = name
        self.dtype = dtype

    def add(self, records_N: Records, bucket_N: Ints) -> None:
        """Append records to their buckets."""
        order_N = np.argsort(bucket_N, kind="stable")
        sorted_N = records_N[order_N]
        buckets, starts = np.unique(bucket_N[order_N], return_index=True)
        for bucket, records_K in zip(buckets, np.split(sorted_N, starts[1:]), strict=False):
            with self._path(int(bucket)).open("ab") as file:
                file.write(records_K.tobytes())

    def replace(self, bucket: int, records_N: Records) -> None:
        """Replace a bucket."""
        self._path(bucket).write_bytes(records_N.tobytes())

    def read(self, bucket: int) -> Records:
        """All records of a bucket, in the order in which they were added."""
        path = self._path(bucket)
        return np.fromfile(path, self.dtype) if path.exists() else np.empty(0, self.dtype)

    def remove(self, bucket: int) -> None:
        """Free the disk that a bucket takes."""
        self._path(bucket).unlink(missing_ok=True)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{self._name}-{bucket:08d}.bin"


def buckets_for(rows: int) -> int:
    """Number of buckets for that many rows."""
    return max(1, -(-rows // BUCKET_ROWS))


def bucket_of(id_hash_N: npt.NDArray[np.uint64], buckets: int) -> Ints:
    """Bucket of each id's hash."""
    return ((id_hash_N >> np.uint64(32)) % np.uint64(buckets)).astype(np.int64)
