"""A Delta table of events, partitioned by hour, whose commits carry the offsets that they cover.

A commit adds rows and, as Delta *application transactions*, the next offset of every partition that
they came from and the watermark. So rows and offsets always agree: a crash at any time neither
loses nor doubles a row. The transactions survive checkpoints, compaction and the cleaning of
Delta's log.

They are the fence as well. Every append names the application id ``watermark``; Delta refuses a
commit if another one has used one of its application ids since the version that the writer read.
Two writers can therefore not both store the records of one range of offsets, whatever either
believes about its lease: the later one fails with :class:`AnotherWriterError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from trainer.store.locations import StoreError, place
from trainer.store.schemas import HOUR, delta_schema

WATERMARK: Final = "watermark"
"""Application id of the watermark, and of the fence."""
#: Rows of a row group: what a snapshot holds of the features at a time.
GROUP_ROWS: Final = 32_768
WRITER: Final = WriterProperties(
    compression="ZSTD", compression_level=3, max_row_group_size=GROUP_ROWS
)
#: Replaced files and the log of commits are kept for a day, which is longer than any reader takes.
KEPT_HOURS: Final = 24
#: Columns of which Delta's log has the extremes, so that files are chosen without being opened.
_STATISTICS: Final = ("ts", "thinned", "weight")
#: How often an append is tried that conflicts with other commits.
ATTEMPTS: Final = 3
_CONFIGURATION: Final = {
    "delta.checkpointInterval": "100",
    "delta.logRetentionDuration": f"interval {KEPT_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {KEPT_HOURS} hours",
}


class AnotherWriterError(StoreError):
    """Another process has appended to the table since this one read it."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table.

    Attributes:
        url: Absolute path or URL.
        path: Path in the table.
        hour: Partition.
        rows: Number of rows.
        size: Bytes.
        first_ms: Earliest event time in it.
        last_ms: Latest event time in it.
        modified_ms: When it was written, ms since the epoch.
        thinned: Whether :mod:`trainer.store.thinning` has decided about all of its rows.
        weights: Smallest and largest weight of a row; 1 in a table without weights.
    """

    url: str
    path: str
    hour: str
    rows: int
    size: int
    first_ms: int
    last_ms: int
    modified_ms: int
    thinned: bool
    weights: tuple[float, float] = (1.0, 1.0)

    def share_before(self, ms: int) -> float:
        """Share of its rows before a time, if they are spread evenly between first and last."""
        if ms > self.last_ms:
            return 1.0
        return max(0.0, ms - self.first_ms) / (self.last_ms - self.first_ms + 1)


class EventTable:
    """One table of the store.

    Args:
        store: Folder or URL of the store.
        name: Name of the table in it.
        columns: Its columns; the table is created if it does not exist. Without them it must exist.

    Attributes:
        url: Absolute path or URL of the table.

    Raises:
        StoreError: If it does not exist, has other columns, or cannot be read.
    """

    def __init__(
        self, store: str, name: str, columns: Mapping[str, pl.DataType] | None = None
    ) -> None:
        self.url = place(store, name)
        self._known: dict[str, int] = {}
        self._attempt: dict[str, int] | None = None
        self._files: tuple[int, list[DataFile]] = (-1, [])
        try:
            self.delta = self._open(columns)
        except (DeltaError, OSError) as error:
            raise StoreError(f"trainer.store: {self.url}: cannot be opened: {error}") from error
        if columns is not None:
            self._check(columns)

    def _open(self, columns: Mapping[str, pl.DataType] | None) -> DeltaTable:
        try:
            return DeltaTable(self.url)
        except TableNotFoundError:
            if columns is None:
                raise
        statistics = ",".join(name for name in _STATISTICS if name in columns)
        return DeltaTable.create(
            self.url,
            delta_schema(dict(columns)),
            mode="ignore",
            partition_by=[HOUR],
            configuration=_CONFIGURATION | {"delta.dataSkippingStatsColumns": statistics},
        )

    def _check(self, columns: Mapping[str, pl.DataType]) -> None:
        found = {field.name: str(field.type) for field in self.delta.schema().fields}
        for field in delta_schema(dict(columns)).fields:
            if found.get(field.name) != str(field.type):
                raise StoreError(
                    f"{self.url}: {field.name} is {found.get(field.name, 'missing')}, {field.type} "
                    "is needed; name another folder in trainer.store"
                )

    @property
    def watermark(self) -> int | None:
        """The watermark of the newest append, in ms; None before the first request."""
        return self._transaction(WATERMARK) or None

    def offset(self, topic: str, partition: int) -> int:
        """Next offset to consume of a partition; 0 if none of its records was stored."""
        return self._transaction(_application(topic, partition)) or 0

    @property
    def files(self) -> list[DataFile]:
        """The files of the version that was read last, oldest hour first."""
        version = self.delta.version()
        if self._files[0] != version:
            self._files = (version, _data_files(self.url, self.delta))
        return self._files[1]

    @property
    def rows(self) -> int:
        """Number of rows, counting every delivery."""
        return sum(file.rows for file in self.files)

    def refresh(self) -> None:
        """Read the newest version.

        Raises:
            AnotherWriterError: If another process has appended.
            OSError: If that fails.
        """
        self._update()
        for name, version in self._known.items():
            if self.delta.transaction_version(name) != version:
                raise self._another()

    def reopen(self) -> None:
        """Forget what is known and read the newest version, as a new writer.

        Raises:
            OSError: If that fails.
        """
        self._known.clear()
        self._attempt = None
        self._update()

    def append(
        self, frame: pl.DataFrame, topic: str, offsets: Mapping[int, int], watermark_ms: int | None
    ) -> None:
        """Add rows, the next offsets of their topic, and the watermark, in one commit.

        After an :class:`OSError` it must be called with the same arguments until it succeeds: if
        the commit had been written and only its answer was lost, it is not written again.

        Raises:
            AnotherWriterError: If another process has appended.
            OSError: If the rows cannot be written.
        """
        wanted = {_application(topic, partition): end for partition, end in offsets.items()}
        wanted[WATERMARK] = watermark_ms or 0
        if self._attempt is not None and self._is_committed(wanted):
            return
        self._attempt = {name: self._transaction(name) or 0 for name in wanted}
        for attempt in range(ATTEMPTS):
            try:
                self._write(frame, wanted)
                break
            except (DeltaError, OSError) as error:
                if self._is_committed(wanted):
                    break
                # Maintenance that removes rows conflicts with every append since; once.
                if attempt == ATTEMPTS - 1 or not isinstance(error, CommitFailedError):
                    raise OSError(f"{self.url}: {error}") from error
        self._known.update(wanted)
        self._attempt = None

    def _write(self, frame: pl.DataFrame, transactions: Mapping[str, int]) -> None:
        applications = [Transaction(name, version) for name, version in transactions.items()]
        write_deltalake(
            self.delta,
            frame,
            mode="append",
            writer_properties=WRITER,
            commit_properties=CommitProperties(app_transactions=applications),
        )

    def _is_committed(self, wanted: Mapping[str, int]) -> bool:
        """Whether the newest version has the commit whose outcome was unknown."""
        self._update()
        found = {name: self.delta.transaction_version(name) or 0 for name in wanted}
        if found == self._attempt:
            return False
        if found != dict(wanted):
            raise self._another()
        self._known.update(wanted)
        self._attempt = None
        return True

    def _update(self) -> None:
        try:
            self.delta.update_incremental()
        except DeltaError as error:
            raise OSError(f"{self.url}: {error}") from error

    def _another(self) -> AnotherWriterError:
        return AnotherWriterError(
            f"{self.url}: another trainer has appended to this table; stop one of them"
        )

    def _transaction(self, name: str) -> int | None:
        if name not in self._known:
            version = self.delta.transaction_version(name)
            if version is None:
                return None
            self._known[name] = version
        return self._known[name]


def _application(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"


def _data_files(url: str, delta: DeltaTable) -> list[DataFile]:
    actions = pl.DataFrame(delta.get_add_actions(flatten=True))
    if not len(actions):
        return []
    files = [
        DataFile(
            url=f"{url}/{row['path']}",
            path=row["path"],
            hour=row[f"partition.{HOUR}"],
            rows=row["num_records"],
            size=row["size_bytes"],
            first_ms=row["min.ts"],
            last_ms=row["max.ts"],
            modified_ms=row["modification_time"],
            thinned=row.get("min.thinned") == 1,
            weights=(row.get("min.weight", 1.0), row.get("max.weight", 1.0)),
        )
        for row in actions.iter_rows(named=True)
    ]
    return sorted(files, key=lambda file: (file.hour, file.modified_ms, file.path))
