"""Parquet files of requests: a column ``value``, and optionally key, timestamp and headers."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from models.data.request_lines import Headers, as_bytes, read_headers, time_of
from models.data.request_streams import RequestFileError, local_copy

_COLUMNS: Final = ("key", "value", "timestamp", "headers")
_FAULTS: Final = (pl.exceptions.PolarsError, OSError)


class RequestTable:
    """One Parquet file.

    Args:
        path: Path or URL; a remote file is copied to this machine.

    Attributes:
        rows: Number of requests.

    Raises:
        RequestFileError: Naming the file, and the column that is missing or of the wrong type.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._local = local_copy(path)
        try:
            self._frame = pl.scan_parquet(self._source())
            schema = self._frame.collect_schema()
            self.rows = int(self._frame.select(pl.len()).collect().item())
        except _FAULTS as error:
            raise self._damaged(error) from error
        self._check(schema)
        names = [name for name in _COLUMNS if name in schema.names()]
        times = schema.get("timestamp")
        self._columns = [_column(name, times) for name in names]

    def read(self, start: int, count: int) -> pl.DataFrame:
        """Some rows: ``value`` (Binary), ``timestamp`` (Int64, 0 without), ``key``, ``headers``.

        Raises:
            RequestFileError: If the file is damaged there.
        """
        try:
            return self._frame.slice(start, count).select(self._columns).collect()
        except _FAULTS as error:
            raise self._damaged(error) from error

    def _source(self) -> Any:
        try:
            self._local.encode()
        except UnicodeEncodeError:  # polars takes no path that is not UTF-8
            return Path(self._local).open("rb")
        return self._local

    def _damaged(self, error: Exception) -> RequestFileError:
        reason = str(error).partition("\n")[0]
        return RequestFileError(f"{self.path}: not Parquet, or incomplete ({reason})")

    def _check(self, schema: pl.Schema) -> None:
        names = schema.names()
        if "value" not in names:
            raise RequestFileError(
                f"{self.path}: column 'value' (the raw bid request) is missing; there are "
                f"{', '.join(names)}"
            )
        if schema["value"] not in {pl.Binary, pl.String, pl.Null}:
            raise RequestFileError(
                f"{self.path}: column 'value' is {schema['value']}; the raw bid request as binary "
                "or text is expected"
            )
        times = schema.get("timestamp")
        if times is not None and not _holds_times(times):
            raise RequestFileError(
                f"{self.path}: column 'timestamp' is {times}; milliseconds since the epoch as "
                "integers are expected"
            )


def _holds_times(kind: Any) -> bool:
    return bool(kind.is_integer()) or kind == pl.Null or isinstance(kind, pl.Datetime)


def _column(name: str, times: Any) -> pl.Expr:
    column = pl.col(name)
    if name == "timestamp":
        column = column.dt.epoch("ms") if isinstance(times, pl.Datetime) else column
        return column.cast(pl.Int64, strict=False).fill_null(0)
    return column.cast(pl.Binary) if name == "value" else column


def times_of(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Timestamps in ms, shape (N,); the request's own where there is none, else 0."""
    if "timestamp" in frame.columns:
        times_N = frame["timestamp"].to_numpy().copy()
    else:
        times_N = np.zeros(frame.height, np.int64)
    missing = np.flatnonzero(times_N == 0)
    if len(missing):
        values = frame["value"]
        times_N[missing] = [time_of(values[at]) for at in missing.tolist()]
    return times_N


def headers_of(frame: pl.DataFrame) -> list[Headers] | None:
    """Headers of each request, or None if the file keeps none."""
    if "headers" not in frame.columns:
        return None
    return [_headers(each) for each in frame["headers"].to_list()]


def keys_of(frame: pl.DataFrame) -> list[bytes | None]:
    """The key of each request; None without one."""
    if "key" not in frame.columns:
        return [None] * frame.height
    return [as_bytes(key) for key in frame["key"].to_list()]


def _headers(value: Any) -> Headers:
    if isinstance(value, str | bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return ()
    return read_headers(value)
