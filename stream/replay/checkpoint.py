"""Where a replay stopped, so that the same command goes on there.

The state of the policies is not stored: the requests that were decided are in the tables with their
scores, and deciding them again, which is a tenth of the work, gives the same state. The decisions
must be those that were written, or the folder is refused.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import polars as pl
import xxhash

from stream.policy.scenario_index import scenario_row
from stream.replay.arms import DecidingArm
from stream.replay.folder import (
    ARMS,
    DECISIONS,
    REQUESTS,
    SUMMARY,
    ReplayFolderError,
    holds_files,
    part,
)
from stream.replay.merge import LanePosition
from stream.replay.scoring import score_columns

#: Name of the file in the folder of an unfinished replay.
PROGRESS: Final = "progress.json"
_ROWS: Final = 20_000


class Checkpoint(msgspec.Struct):
    """State of an unfinished replay.

    Attributes:
        inputs: Hash of all that determines the decisions.
        parts: Parts that are complete.
        ends: First offset that is not read, by name of the lane, for topics.
        lanes: How far each lane has been given.
    """

    inputs: str
    parts: int
    ends: dict[str, int]
    lanes: list[LanePosition]

    def write(self, folder: Path) -> None:
        """Replace the one in the folder."""
        new = folder / f"{PROGRESS}.new"
        new.write_bytes(msgspec.json.encode(self))
        new.replace(folder / PROGRESS)


def hash_inputs(inputs: Any) -> str:
    """Hash of what determines the decisions, as JSON."""
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()


def open_folder(folder: Path, inputs: str) -> Checkpoint:
    """Make a folder, or find the unfinished replay of the same inputs in it.

    Returns:
        Its checkpoint, or that of a replay that begins.

    Raises:
        ReplayFolderError: If it holds anything else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / SUMMARY).exists() or not (folder / PROGRESS).is_file():
        if holds_files(folder):
            raise ReplayFolderError(f"{folder}: not empty; give --out a new folder")
        return Checkpoint(inputs, 0, {}, [])
    try:
        found = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=Checkpoint)
    except msgspec.DecodeError as error:
        raise ReplayFolderError(
            f"{folder / PROGRESS}: damaged ({error}); remove {folder}"
        ) from error
    if found.inputs != inputs:
        raise ReplayFolderError(
            f"{folder}: holds an unfinished replay of other requests, settings or models; repeat "
            "its command to finish it, or give --out a new folder"
        )
    return found


def decide_again(folder: Path, parts: int, arms: Sequence[tuple[DecidingArm, int]]) -> int:
    """Bring the arms into the state that they had after some parts.

    Args:
        folder: Folder of the replay.
        parts: Complete parts.
        arms: Every arm, with the number of its model.

    Returns:
        The number of requests.

    Raises:
        ReplayFolderError: If a decision is not the one that was written.
    """
    count = 0
    for number in range(parts):
        tables = [_read(part(folder, REQUESTS, number))]
        tables += [_read(part(folder / ARMS / arm.name, DECISIONS, number)) for arm, _ in arms]
        for start in range(0, tables[0].height, _ROWS):
            requests, *written = (table.slice(start, _ROWS) for table in tables)
            scored = requests.with_columns(_hashes(requests))
            for (arm, model), before in zip(arms, written, strict=True):
                if not arm.decide(_with_scores(scored, before, arm, model)).equals(before):
                    raise ReplayFolderError(
                        f"{folder}: part {number} of arm {arm.name} holds decisions that this "
                        "version of Weir does not make; give --out a new folder"
                    )
            count += requests.height
    return count


def _read(path: Path) -> pl.DataFrame:
    try:
        with path.open("rb") as file:
            return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ReplayFolderError(f"{path}: cannot be read ({error}); remove the folder") from error


def _hashes(requests: pl.DataFrame) -> Iterator[pl.Series]:
    ids = requests["request_id"].to_list()
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(each.encode()) for each in ids), np.uint64)
    yield pl.Series("hash", hashes)
    if requests["scenario"].null_count() < requests.height:
        rows = {name: scenario_row(name) for name in requests["scenario"].drop_nulls().unique()}
        found = [rows.get(name, 0) for name in requests["scenario"].to_list()]
        yield pl.Series("scenario_row", found, pl.Int32)
    else:
        yield pl.Series("scenario_row", np.zeros(requests.height, np.int32))


def _with_scores(
    scored: pl.DataFrame, written: pl.DataFrame, arm: DecidingArm, model: int
) -> pl.DataFrame:
    scores, uncertainties = score_columns(model, len(arm.tasks))
    columns = [
        written[f"{figure}_{task}"].alias(name)
        for figure, names in (("score", scores), ("uncertainty", uncertainties))
        for task, name in zip(arm.tasks, names, strict=True)
    ]
    return scored.with_columns(columns)
