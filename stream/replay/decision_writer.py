"""Decisions as Parquet: the output of a replay, to be compared, joined and evaluated."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from models.errors import UserError
from models.tasks import TaskSet
from stream.intercept.interceptor import Intercepted, timestamps
from stream.messages import REASON_LABELS

#: Decisions per Parquet part; bounds memory, whatever the size of the source.
ROWS_PER_PART: Final = 500_000
#: Types of the columns that every part has; a chunk without decisions does not imply them.
_TYPES: Final = {
    "request_id": pl.String,
    "partition": pl.Int64,
    "offset": pl.Int64,
    "timestamp": pl.Int64,
    "verdict": pl.String,
    "reason": pl.String,
    "model": pl.String,
}


class DecisionFolderError(UserError, ValueError):
    """A folder that decisions cannot be written to."""


class DecisionWriter:
    """Writes decisions as Parquet parts.

    Args:
        folder: Folder of the parts; it must be new or empty.
        tasks: Tasks, which name the score columns.

    Raises:
        DecisionFolderError: If the folder is not empty.
    """

    def __init__(self, folder: Path, tasks: TaskSet) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DecisionFolderError(f"{folder}: not empty; give --out a new folder")
        self._folder = folder
        self._tasks = tasks
        self._frames: list[pl.DataFrame] = []
        self._rows = 0
        self._parts = 0

    def write(self, model: str, result: Intercepted) -> None:
        """Add the decisions of one chunk.

        Args:
            model: Version of the model that decided it.
            result: The chunk.
        """
        decided = result.decided
        columns: dict[str, Any] = {
            "request_id": result.request_ids,
            "partition": [record.partition for record in decided],
            "offset": [record.offset for record in decided],
            "timestamp": timestamps(decided),
        }
        count = len(decided)
        if result.scored is None:
            columns |= {"verdict": ["pass"] * count, "reason": ["fail-open"] * count}
        else:
            decisions = result.scored.decisions
            columns["verdict"] = np.where(decisions.passed_N, "pass", "block")
            columns["reason"] = np.array(REASON_LABELS)[decisions.reason_N]
            columns["e"] = decisions.reward_N
            columns["threshold"] = decisions.threshold_N
            columns["propensity"] = decisions.propensity_N
            for column, task in enumerate(self._tasks.names):
                columns[f"score_{task}"] = result.scored.scores_NT[:, column]
                columns[f"uncertainty_{task}"] = result.scored.uncertainties_NT[:, column]
        columns["model"] = [model] * count
        self._frames.append(pl.DataFrame(columns, schema_overrides=_TYPES))
        self._rows += count
        if self._rows >= ROWS_PER_PART:
            self.close()

    def close(self) -> None:
        """Write the pending decisions as another part."""
        if self._frames:
            path = self._folder / f"decisions-{self._parts:05d}.parquet"
            with path.open("wb") as file:  # polars takes no path that is not UTF-8
                pl.concat(self._frames, how="diagonal").write_parquet(file)
            self._frames, self._rows, self._parts = [], 0, self._parts + 1


def read_decisions(folder: Path) -> pl.DataFrame:
    """All decisions in a folder of a :class:`DecisionWriter`, in their order."""
    frames = []
    for part in sorted(folder.glob("decisions-*.parquet")):
        with part.open("rb") as file:
            frames.append(pl.read_parquet(file))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame(schema=_TYPES)
