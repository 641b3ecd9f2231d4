"""Mean weight of the rows of a file: how many passed requests each of them stands for.

The weights of a file are equal, and known from the table's log, unless `feedback.keep_share` was
changed meanwhile or :mod:`trainer.store.thinning` has been there. Then the column is read, once.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from trainer.store.event_table import DataFile
from trainer.store.files import FileReader

MOST: Final = 64
"""Files that are read at a time, some 0.3 s; others count with their smallest weight until then."""


class MeanWeights:
    """Mean weights of files, as far as they are known."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def of(self, files: Sequence[DataFile]) -> list[float]:
        """The mean weight of each file."""
        self._known = {file.path: self._known.get(file.path, 0.0) for file in files}
        uneven = [file for file in files if file.weights[0] != file.weights[1]]
        reader = FileReader()
        for file in [each for each in uneven if not self._known[each.path]][:MOST]:
            frame = reader.read(file, lambda rows: rows.select(pl.col("weight").mean()))
            self._known[file.path] = file.weights[0] if frame is None else frame.item()
        return [self._known[file.path] or file.weights[0] for file in files]
