"""Reading a store's files: one that cannot be read is skipped, logged with its path and counted."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from trainer.store.event_table import DataFile

logger = logging.getLogger(__name__)
Reading = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(slots=True)
class FileReader:
    """Reads files of the store.

    Attributes:
        unreadable: Files that could not be read, with the reason, by path or URL.
    """

    unreadable: dict[str, str] = field(default_factory=dict)

    def read(self, file: DataFile, reading: Reading) -> pl.DataFrame | None:
        """Rows of a file, None if it cannot be read.

        Args:
            file: The file.
            reading: The columns and rows to read.
        """
        try:
            return reading(pl.scan_parquet(file.url, glob=False, hive_partitioning=False)).collect()
        except (pl.exceptions.PolarsError, OSError, pl.exceptions.PanicException) as error:
            reason = " ".join(str(error).split())[:300]
        if file.url not in self.unreadable:
            logger.error("%s: skipped, its %d rows are missing: %s", file.url, file.rows, reason)
        self.unreadable[file.url] = reason
        return None
