"""A folder of a replay is read table by table, lazily and in order."""

from pathlib import Path

import orjson
import polars as pl
import pytest

from stream.replay.folder import (
    BASE,
    ReplayFolder,
    ReplayFolderError,
    decision_schema,
    part,
    request_schema,
)

SUMMARY = {"arms": [BASE, "b"], "task_names": ["click"], "by": ["site.id"]}


def make(folder: Path) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_bytes(orjson.dumps(SUMMARY))
    return folder


def test_parts_are_read_in_order(tmp_path: Path) -> None:
    """Requests and decisions of an arm are the concatenation of their parts."""
    out = make(tmp_path / "out")
    (out / "arms" / "b").mkdir(parents=True)
    for number in range(3):
        keys = {"request_id": [f"r{number}"], "partition": [0], "offset": [number]}
        for folder, table in ((out, "requests"), (out / "arms" / "b", "decisions")):
            pl.DataFrame(keys).write_parquet(part(folder, table, number))
    folder = ReplayFolder(out)
    assert folder.arms == [BASE, "b"]
    assert folder.requests().collect()["request_id"].to_list() == ["r0", "r1", "r2"]
    assert folder.decisions("b").collect()["offset"].to_list() == [0, 1, 2]


def test_an_empty_replay_has_its_columns(tmp_path: Path) -> None:
    """Frames without rows have the schema of those with rows."""
    folder = ReplayFolder(make(tmp_path / "out"))
    assert folder.requests().collect().schema == request_schema(["site.id"])
    assert folder.decisions().collect().schema == decision_schema(["click"])
    assert folder.labels() is None
    assert folder.rejects().collect().is_empty()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A folder without a summary, and an arm that does not exist."""
    with pytest.raises(ReplayFolderError, match=r"summary\.json is missing"):
        ReplayFolder(tmp_path)
    with pytest.raises(ReplayFolderError, match="no arm 'c'; there are base, b"):
        ReplayFolder(make(tmp_path / "out")).decisions("c")
