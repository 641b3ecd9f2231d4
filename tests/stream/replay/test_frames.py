"""A replay in memory gives what a replay on disk writes."""

from pathlib import Path

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from models.settings import Settings
from stream.policy import PolicyError
from stream.replay.arms import ArmError
from stream.replay.folder import ReplayFolder, ReplayFolderError
from stream.replay.frames import decision_batches, replay, replay_folder
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


async def test_a_reward_of_ones_own_decides_in_place_of_that_of_the_settings(
    make_artifact: Make, tmp_path: Path
) -> None:
    """A function that computes what the settings ask for decides alike; another one does not."""
    settings, file = tiny(make_artifact()), tmp_path / "requests.jsonl"
    write(file, 400)
    plain = await replay(settings, file)
    same = await replay(settings, file, reward=lambda t_NT: t_NT[:, 0])
    assert_frame_equal(plain.decisions, same.decisions)
    turned = await replay(settings, file, reward=lambda t_NT: -t_NT[:, 0])
    assert turned.decisions["e"].max() < 0
    with pytest.raises(PolicyError, match="one number per row"):
        await replay(settings, file, reward=lambda t_NT: t_NT)


async def test_batches_are_the_tables_side_by_side(make_artifact: Make, tmp_path: Path) -> None:
    """Whatever their size; each arm with its own decisions, in the order of the requests."""
    settings, file = tiny(make_artifact()), tmp_path / "requests.jsonl"
    write(file, 300)
    rewards = {"other": lambda t_NT: -t_NT[:, 0]}
    out = tmp_path / "out"
    folder = await replay_folder(
        settings, file, out, against={"other": settings}, rewards=rewards, by=["site.id"]
    )
    assert folder.arms == ["base", "other"]
    for arm in folder.arms:
        whole = pl.concat(decision_batches(folder, arm, rows=1000))
        parts = list(decision_batches(folder, arm, rows=77))
        assert [part.height for part in parts] == [77, 77, 77, 69]
        assert_frame_equal(pl.concat(parts), whole)
        assert_frame_equal(whole.select(folder.decisions(arm).collect().columns),
                           folder.decisions(arm).collect())  # fmt: skip
        assert whole["by_site.id"][1] == "s1"
    with pytest.raises(ReplayFolderError, match="no arm 'third'"):
        next(decision_batches(folder, "third"))
    with pytest.raises(ReplayFolderError, match="not empty; a replay with rewards of your own"):
        await replay_folder(settings, file, out, rewards=rewards)
    with pytest.raises(ArmError, match="rewards: 'other' is no arm; there are base"):
        await replay_folder(settings, file, tmp_path / "new", rewards=rewards)
