"""A replay in memory gives what a replay on disk writes."""

from pathlib import Path

import orjson
from polars.testing import assert_frame_equal

from models.settings import Settings
from stream.replay.folder import ReplayFolder
from stream.replay.frames import replay
from stream.replay.replay import ReplayOptions, run_replay
from tests.tiny_artifact import TASKS, Make


def tiny(artifact: Path) -> Settings:
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.4, "weights": {"click": 1.0}}
    return Settings(tasks=tasks, policy=policy).override({"model.artifact": str(artifact)})


def write(file: Path, count: int) -> None:
    rows = [{"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 60}"}} for i in range(count)]
    file.write_bytes(b"\n".join([b"{broken", *map(orjson.dumps, rows)]) + b"\n")


async def test_the_frame_has_what_the_files_have(make_artifact: Make, tmp_path: Path) -> None:
    """Decisions and summary are equal, outcomes included."""
    settings, file = tiny(make_artifact()), tmp_path / "requests.jsonl"
    write(file, 500)
    outcomes = tmp_path / "outcomes.jsonl"
    outcomes.write_bytes(b'{"request_id":"r1","task":"click","ts":1}\n')
    replayed = await replay(settings, file, outcomes=outcomes)
    out = tmp_path / "out"
    summary = await run_replay(settings, ReplayOptions(str(file), out, outcomes=str(outcomes)))
    assert_frame_equal(replayed.decisions, ReplayFolder(out).decisions().collect())
    assert replayed.summary == summary
    assert replayed.summary["rejected"] == 1
    assert replayed.decisions.height == 500
