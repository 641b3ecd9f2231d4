"""The folder that a replay writes: its tables, their columns, and how to read them.

::

    OUT/requests-00000.parquet ...               one row per decided request, in replay order
    OUT/arms/NAME/decisions-00000.parquet ...    the same rows in the same order, one arm each
    OUT/labels.parquet                           the same rows, if outcomes were given
    OUT/rejects.parquet                          records that could not be decided
    OUT/summary.json                             figures about all of them

An *arm* is a policy with a model; ``base`` is that of the settings in force. All tables are read
lazily, so a folder may be larger than memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl

from models.errors import UserError

#: Name of the arm of the settings in force.
BASE: Final = "base"
ARMS: Final = "arms"
REQUESTS: Final = "requests"
DECISIONS: Final = "decisions"
LABELS: Final = "labels.parquet"
REJECTS: Final = "rejects.parquet"
SUMMARY: Final = "summary.json"

Schema = Mapping[str, type[pl.DataType]]

#: Columns that requests and decisions share.
KEYS: Final[Schema] = {
    "request_id": pl.String,
    "partition": pl.Int64,
    "offset": pl.Int64,
    "timestamp": pl.Int64,
}
REJECT_SCHEMA: Final[Schema] = {"place": pl.String, "code": pl.String, "reason": pl.String}


class ReplayFolderError(UserError, ValueError):
    """A folder that cannot be written to or read as one of a replay; names folder and fix."""


def request_schema(by: Sequence[str] = ()) -> dict[str, type[pl.DataType]]:
    """Columns of the requests.

    ``partition`` and ``offset`` are those of the request in its source, ``timestamp`` is in ms.
    ``scenario`` is null without ``policy.scenario_path``. ``logged_*`` is what was decided when the
    request was live, null where the source has no ``weir`` header: the verdict ("pass" or "block"),
    its reason, the probability of that verdict, the model, e and the threshold.

    Args:
        by: Paths in the request whose values are kept as text, each in a column ``by_<PATH>``.
    """
    return {
        **KEYS,
        "scenario": pl.String,
        "logged_verdict": pl.String,
        "logged_reason": pl.String,
        "logged_propensity": pl.Float64,
        "logged_model": pl.String,
        "logged_e": pl.Float64,
        "logged_threshold": pl.Float64,
        **{f"by_{path}": pl.String for path in by},
    }


def decision_schema(tasks: Sequence[str]) -> dict[str, type[pl.DataType]]:
    """Columns of an arm's decisions.

    ``e``, ``threshold`` and ``propensity`` are those of :class:`stream.policy.Decisions`; NaN in
    ``e`` ranks below every number. Scores are probabilities, each on its task's own population,
    uncertainties their standard deviations.

    Args:
        tasks: Names of the tasks.
    """
    return {
        **KEYS,
        "verdict": pl.String,
        "reason": pl.String,
        "e": pl.Float32,
        "threshold": pl.Float32,
        "propensity": pl.Float64,
        **{f"{figure}_{task}": pl.Float32 for task in tasks for figure in ("score", "uncertainty")},
        "model": pl.String,
    }


def label_schema(tasks: Sequence[str]) -> dict[str, type[pl.DataType]]:
    """Columns of the labels.

    ``label_<task>`` is null where it is not known: the window was open, or the logged policy
    blocked the request. ``delay_<task>`` is the time from the request to its event in ms, null
    without one.

    Args:
        tasks: Names of the tasks.
    """
    columns: dict[str, type[pl.DataType]] = {"request_id": pl.String}
    for task in tasks:
        columns |= {f"label_{task}": pl.Boolean, f"delay_{task}": pl.Int64}
    return columns


class ReplayFolder:
    """Reads a folder that `weir replay` wrote.

    Args:
        path: The folder.

    Raises:
        ReplayFolderError: If it is no folder of a replay.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / SUMMARY).is_file():
            raise ReplayFolderError(
                f"{self.path}: no folder of a finished replay, {SUMMARY} is missing; "
                "run weir replay with --out"
            )

    @property
    def arms(self) -> list[str]:
        """Names of the arms, ``base`` first, the others in the order in which they were given."""
        names: list[str] = self.summary()["arms"]
        return names

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the order of the settings."""
        names: list[str] = self.summary()["task_names"]
        return names

    @property
    def by(self) -> list[str]:
        """Paths whose values are in the columns ``by_<PATH>`` of the requests."""
        paths: list[str] = self.summary()["by"]
        return paths

    def summary(self) -> dict[str, Any]:
        """Content of ``summary.json``."""
        content: dict[str, Any] = orjson.loads((self.path / SUMMARY).read_bytes())
        return content

    def requests(self) -> pl.LazyFrame:
        """One row per decided request, in replay order; see :func:`request_schema`."""
        return _scan(self.path, REQUESTS, request_schema(self.by))

    def decisions(self, arm: str = BASE) -> pl.LazyFrame:
        """The decisions of an arm, in the order of the requests; see :func:`decision_schema`.

        Raises:
            ReplayFolderError: If there is no such arm.
        """
        if arm not in self.arms:
            raise ReplayFolderError(
                f"{self.path}: no arm {arm!r}; there are {', '.join(self.arms)}"
            )
        return _scan(self.path / ARMS / arm, DECISIONS, decision_schema(self.tasks))

    def labels(self) -> pl.LazyFrame | None:
        """The labels, in the order of the requests, or None if there are none."""
        path = self.path / LABELS
        return pl.scan_parquet(path.open("rb")) if path.is_file() else None

    def rejects(self) -> pl.LazyFrame:
        """Place, code and reason of every record that could not be decided."""
        path = self.path / REJECTS
        if path.is_file():
            return pl.scan_parquet(path.open("rb"))
        return pl.LazyFrame(schema=REJECT_SCHEMA)


def holds_files(folder: Path) -> bool:
    """Whether there is a file in it; a replay that failed before its first one leaves folders."""
    return any(not path.is_dir() for path in folder.rglob("*"))


def part(folder: Path, table: str, number: int) -> Path:
    """Path of one part of a table."""
    return folder / f"{table}-{number:05d}.parquet"


def _scan(folder: Path, table: str, schema: Schema) -> pl.LazyFrame:
    parts = sorted(folder.glob(f"{table}-*.parquet"))
    if not parts:
        return pl.LazyFrame(schema=schema)
    # polars takes no path that is not UTF-8, but open files
    return pl.concat([pl.scan_parquet(path.open("rb")) for path in parts])
