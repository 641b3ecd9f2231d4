"""Writing of a replay's tables: Parquet parts of a fixed number of rows, the same for all tables.

Parts do not depend on how the rows came, so two replays of the same requests write the same files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from stream.replay.folder import ARMS, DECISIONS, REQUESTS, Schema, part

#: Rows of a part: bounds memory, and what a replay that is resumed does again.
ROWS_PER_PART: Final = 200_000


class TableWriter:
    """Writes requests and the decisions of every arm.

    Args:
        folder: Folder of the replay.
        requests: Schema of the requests.
        decisions: Schema of the decisions of each arm.
        parts: Parts that are written already.
        rows_per_part: Rows of a part.

    Attributes:
        parts: Parts that have been written.
    """

    def __init__(
        self,
        folder: Path,
        requests: Schema,
        decisions: Mapping[str, Schema],
        *,
        parts: int = 0,
        rows_per_part: int = ROWS_PER_PART,
    ) -> None:
        self.parts = parts
        self._rows_per_part = rows_per_part
        self._tables: list[tuple[Path, str, Schema]] = [(folder, REQUESTS, requests)]
        for arm, schema in decisions.items():
            self._tables.append((folder / ARMS / arm, DECISIONS, schema))
        for path, _, _ in self._tables:
            path.mkdir(parents=True, exist_ok=True)
        self._pending: list[list[pl.DataFrame]] = [[] for _ in self._tables]
        self._rows = 0

    @property
    def room(self) -> int:
        """Rows until the part is full."""
        return self._rows_per_part - self._rows

    def add(self, requests: pl.DataFrame, decisions: Mapping[str, pl.DataFrame]) -> bool:
        """Add rows, at most as many as there is room for; returns whether the part is full."""
        for pending, frame in zip(self._pending, (requests, *decisions.values()), strict=True):
            pending.append(frame)
        self._rows += requests.height
        return not self.room

    def write(self) -> None:
        """Write the rows that were added as the next part, if there are any."""
        if not self._rows:
            return
        for (folder, table, schema), frames in zip(self._tables, self._pending, strict=True):
            whole = pl.concat([_conform(frame, schema) for frame in frames], rechunk=True)
            with part(folder, table, self.parts).open("wb") as file:  # paths need not be UTF-8
                whole.write_parquet(file)
            frames.clear()
        self._rows, self.parts = 0, self.parts + 1

    def remove_after(self, parts: int) -> None:
        """Remove parts that a replay began after its last checkpoint."""
        for folder, table, _ in self._tables:
            for path in sorted(folder.glob(f"{table}-*.parquet"))[parts:]:
                path.unlink()


def _conform(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The columns of a schema, in its order; those that are missing are null."""
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None, kind()).alias(name)
        for name, kind in schema.items()
    )
