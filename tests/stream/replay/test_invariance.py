"""The files of a replay are the same, however it was run."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from backports import zstd

from models.settings import Settings
from stream.messages.decision import Decision, Reason
from stream.replay import replay as replays
from stream.replay.arms import Arm, ArmError
from stream.replay.checkpoint import PROGRESS
from stream.replay.deciding import Deciding
from stream.replay.folder import ARMS, BASE, ReplayFolder, ReplayFolderError
from stream.replay.replay import ReplayOptions, run_replay
from tests.tiny_artifact import TASKS, Make, tiny_student

START_MS = 1_700_000_000_000
COUNT = 700
POLICY = {
    "rate": 0.4,
    "weights": {"click": 1.0, "online": 3.0},
    "uncertainty_source": "own",
    "direct_share": 0.05,
    "explore": 0.05,
}


def tiny(artifact: Path, **policy: Any) -> Settings:
    tasks = [task.model_dump() for task in TASKS]
    return Settings(tasks=tasks, policy=POLICY | policy).override({"model.artifact": str(artifact)})


def envelopes() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(COUNT):
        site = {"id": f"s{rng.integers(60)}", "publisher": {"id": f"p{i % 3}"}}
        request: Any = {"id": f"r{i}", "imp": [{}], "site": site}
        header = Decision("old", 0.5, 0.25, Reason.SCORE, 1.0, i).to_bytes().decode()
        rows.append(
            {
                "value": "{broken" if i % 50 == 7 else request,
                "timestamp": START_MS + 3 * i,
                "headers": [["weir", header]] if i % 2 else [],
            }
        )
    return rows


def write(folder: Path) -> Mapping[str, str]:
    """The same requests in files of every kind."""
    rows = envelopes()
    lines = b"\n".join(map(orjson.dumps, rows)) + b"\n"
    (folder / "r.jsonl").write_bytes(lines)
    (folder / "r.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "r.jsonl.zst").write_bytes(zstd.compress(lines))
    texts = [
        row["value"] if isinstance(row["value"], str) else orjson.dumps(row["value"]).decode()
        for row in rows
    ]
    table = pl.DataFrame(
        {
            "value": texts,
            "timestamp": [row["timestamp"] for row in rows],
            "headers": [orjson.dumps(row["headers"]).decode() for row in rows],
        }
    )
    table.write_parquet(folder / "r.parquet", row_group_size=100)
    for number in range(3):
        part = [orjson.dumps(row) for row in rows[number::3]]
        (folder / f"part-{number}.ndjson").write_bytes(b"\n\n".join(part))
    kinds = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")
    return {kind: str(folder / f"r.{kind}") for kind in kinds} | {
        "parts": str(folder / "part-*.ndjson")
    }


def content(folder: Path, *, rejects: bool = True) -> dict[str, bytes]:
    """The tables of a replay, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if rejects or path.name != "rejects.parquet"
    }


async def test_cuts_and_kinds_of_files_do_not_change_a_byte(
    make_artifact: Make, tmp_path: Path
) -> None:
    """Chunks of 1 to 5,000 requests, pieces of 700 bytes to all; lines, packed lines, tables."""
    sources, settings = write(tmp_path), tiny(make_artifact())
    options = ReplayOptions(sources["jsonl"], tmp_path / "out", by=["site.publisher.id"])
    options = replace(options, rows_per_part=300)
    summary = await run_replay(settings, options)
    wanted = content(tmp_path / "out")
    assert len(wanted) == 3 + 3 + 1
    cases = [("jsonl", 1, 700), ("jsonl", 5000, 9_000), ("jsonl.gz", 64, 700)]
    cases += [("jsonl.zst", 5000, 5_000), ("parquet", 100, 512 * 70)]
    for number, (kind, chunk, piece) in enumerate(cases):
        out = tmp_path / f"out-{number}"
        again = replace(options, source=sources[kind], out=out, chunk_size=chunk, piece_bytes=piece)
        assert await run_replay(settings, again) == {**summary, "source": sources[kind]}
        assert content(out, rejects=False) == {
            name: data for name, data in wanted.items() if name != "rejects.parquet"
        }
    folder = ReplayFolder(tmp_path / "out")
    requests = folder.requests().collect()
    assert requests.height == COUNT - 14
    assert requests["by_site.publisher.id"].n_unique() == 3
    assert requests["logged_verdict"].value_counts().height == 2
    places = folder.rejects().collect()["place"].to_list()
    assert places == [f"{sources['jsonl']}:{line}" for line in range(8, COUNT + 1, 50)]
    assert set(folder.decisions().collect()["reason"]) == {"score", "uncertain", "explore"}


@pytest.mark.slow
async def test_processes_do_not_change_a_byte(make_artifact: Make, tmp_path: Path) -> None:
    """One, two and four, on one file and on several that are merged by time."""
    sources, settings = write(tmp_path), tiny(make_artifact())
    found = {}
    for processes, kind in ((1, "jsonl"), (2, "jsonl"), (1, "parts"), (4, "parts")):
        out = tmp_path / f"out-{processes}-{kind}"
        options = ReplayOptions(sources[kind], out, processes=processes, piece_bytes=9_000)
        await run_replay(settings, options)
        found[processes, kind] = content(out)
    assert found[1, "jsonl"] == found[2, "jsonl"]
    assert found[1, "parts"] == found[4, "parts"]
    parts = ReplayFolder(tmp_path / "out-4-parts")
    whole = ReplayFolder(tmp_path / "out-1-jsonl")
    ids = pl.col("request_id")
    verdict = pl.col("verdict")
    assert parts.requests().select(ids).collect().equals(whole.requests().select(ids).collect())
    assert (
        parts.decisions()
        .select(verdict)
        .collect()
        .equals(whole.decisions().select(verdict).collect())
    )


async def test_arms_side_by_side_decide_as_alone(make_artifact: Make, tmp_path: Path) -> None:
    """Rate and model of another arm, in one pass."""
    sources, base = write(tmp_path), tiny(make_artifact())
    student = tiny_student(weights=[0.2, 0.1, 0.3])
    other = tiny(make_artifact("other", student.SerializeToString(), version="other"), rate=0.7)
    options = ReplayOptions(sources["jsonl"], tmp_path / "both", against=[Arm("other", other)])
    summary = await run_replay(base, options)
    assert summary["per_arm"]["other"]["achieved_rate"] == pytest.approx(0.7, abs=0.01)
    for name, settings in (("base", base), ("other", other)):
        out = tmp_path / f"alone-{name}"
        await run_replay(settings, replace(options, out=out, against=()))
        alone = ReplayFolder(out).decisions().collect()
        assert alone.equals(ReplayFolder(tmp_path / "both").decisions(name).collect())
    assert ReplayFolder(tmp_path / "both").arms == ["base", "other"]


@pytest.mark.parametrize("name", ["base", "a/b", "twice"])
async def test_arms_need_names_of_their_own(make_artifact: Make, tmp_path: Path, name: str) -> None:
    """The name is that of a folder, and no other arm has it."""
    sources, base = write(tmp_path), tiny(make_artifact())
    options = ReplayOptions(
        sources["jsonl"], tmp_path / "out", against=[Arm("twice", base), Arm(name, base)]
    )
    with pytest.raises(ArmError, match=name):
        await run_replay(base, options)


class StoppedError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "parts"])
async def test_a_replay_goes_on_where_it_stopped(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The tables and the summary are those of one that did not stop."""
    sources, settings = write(tmp_path), tiny(make_artifact())
    options = ReplayOptions(
        sources[kind], tmp_path / "whole", rows_per_part=150, piece_bytes=9_000, chunk_size=64
    )
    summary = await run_replay(settings, options)
    stopped = replace(options, out=tmp_path / "stopped")
    stop_at = [100, 400, 1000]

    def stop(*_args: Any) -> Any:
        def report(deciding: Deciding) -> None:
            if deciding.requests >= stop_at[0]:
                stop_at.pop(0)
                raise StoppedError

        return report

    monkeypatch.setattr(replays, "_reporter", stop)
    for _ in range(2):
        with pytest.raises(StoppedError):
            await run_replay(settings, stopped)
        with pytest.raises(ReplayFolderError, match="unfinished replay of other requests"):
            await run_replay(settings.override({"policy.rate": "0.5"}), stopped)
    assert await run_replay(settings, stopped) == summary
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    assert not (tmp_path / "stopped" / PROGRESS).exists()


async def test_a_used_folder_is_refused(make_artifact: Make, tmp_path: Path) -> None:
    """The error names the remedy, and decisions that do not repeat are not continued."""
    sources, settings = write(tmp_path), tiny(make_artifact())
    with pytest.raises(ReplayFolderError, match="not empty; give --out a new folder"):
        await run_replay(settings, ReplayOptions(sources["jsonl"], tmp_path))
    left = tmp_path / "left"  # by a replay that failed before it wrote anything
    (left / ARMS / BASE).mkdir(parents=True)
    assert (await run_replay(settings, ReplayOptions(sources["jsonl"], left)))["requests"] > 0
