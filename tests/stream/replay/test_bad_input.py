"""Bad input is a clear line and exit status 2, or counted rejections; never a traceback."""

import gzip
import sys
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from backports import zstd

from models.settings import Settings
from models.tasks import Task
from stream.cli.main import main
from stream.messages import Outcome
from stream.replay.folder import ReplayFolder
from stream.replay.replay import ReplayOptions, run_replay
from tests.tiny_artifact import TASKS, Make

START_MS = 1_700_000_000_000
ROW = {"id": "r", "imp": [{}], "site": {"id": "s"}}


def lines(count: int = 200) -> bytes:
    rows = [{"value": {**ROW, "id": f"r{i}"}, "timestamp": START_MS + i} for i in range(count)]
    return b"\n".join(map(orjson.dumps, rows)) + b"\n"


def tiny(artifact: Path, **policy: Any) -> Settings:
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.4, "weights": {"click": 1.0}, "explore": 0.05, **policy}
    return Settings(tasks=tasks, policy=policy).override({"model.artifact": str(artifact)})


@pytest.fixture
def config(make_artifact: Make, tmp_path: Path) -> Path:
    """A settings file with the tiny artifact."""
    tasks = [
        f'[[tasks]]\nname = "{task.name}"\npopulation = "{task.population}"\n'
        f"window_s = {task.window_s}\n"
        for task in TASKS
    ]
    path = tmp_path / "weir.toml"
    path.write_text(
        f'[model]\nartifact = "{make_artifact()}"\n[policy]\nrate = 0.4\n'
        "[policy.weights]\nclick = 1.0\n" + "".join(tasks)
    )
    return path


def ends_with(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    """Run `weir replay`, which is to end with status 2; returns what it says."""
    out = str(config.parent / "out")
    monkeypatch.setattr(
        sys, "argv", ["weir", "--config", str(config), "replay", *words, "--out", out]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


FILES = {
    "cut.jsonl.gz": gzip.compress(lines(), mtime=0)[:-40],
    "cut.jsonl.zst": zstd.compress(lines())[:-10],
    "plain.jsonl.gz": lines(),
    "cut.parquet": b"PAR1" * 9,
    "empty.jsonl": b"",
    "r.jsonl": lines(),
    "r.csv": lines(),
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cut.jsonl.gz"], "cut.jsonl.gz: not gzip, or incomplete"),
        (["cut.jsonl.zst"], "cut.jsonl.zst: not zstd, or incomplete"),
        (["plain.jsonl.gz"], "plain.jsonl.gz: not gzip, or incomplete"),
        (["cut.parquet"], "cut.parquet: not Parquet, or incomplete"),
        (["empty.jsonl"], "no request in 1 files or partitions"),
        (["r.csv"], "r.csv: unknown type of file"),
        (["absent.jsonl"], "absent.jsonl: no such file"),
        (["absent-*.jsonl"], "no file matches"),
        (["r.jsonl", "--from", "2026-02-01", "--to", "2026-01-01"], "is not before --to"),
        (["r.jsonl", "--from", str(2**63)], "is no time"),
        (["r.jsonl", "--from", "2200-01-01"], "no request from 2200-01-01 on"),
        (["r.jsonl", "--to", "10"], "no request before 10"),
        (["r.jsonl", "--by", "site..id"], "--by: 'site..id'"),
        (["r.jsonl", "--outcomes", "absent.jsonl"], "absent.jsonl: no such file"),
        (["r.jsonl", "--against", "absent.toml"], "absent.toml"),
        (["r.jsonl", "--against", "base=weir.toml"], "'base' cannot be the name of an arm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_says_in_one_line_what_is_wrong(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    """Damaged, missing and empty sources, and options that contradict each other."""
    for name, content in FILES.items():
        (config.parent / name).write_bytes(content)
    monkeypatch.chdir(config.parent)
    said = ends_with(config, monkeypatch, capsys, *words)
    assert message in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.broker
def test_a_missing_topic_is_named(
    settings: Settings,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the command that makes Weir's topics."""
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP", str(settings.kafka.bootstrap))
    assert "absent: no such topic" in ends_with(config, monkeypatch, capsys, "absent")


async def test_hostile_records_are_counted_with_their_places(
    make_artifact: Make, tmp_path: Path
) -> None:
    """Times that go back or past 2^63, mixed schemas, broken lines and headers: the rest counts."""
    rows: list[bytes] = []
    times: list[Any] = [START_MS + 10, START_MS, 2**63, 2**64, -(2**63), -1, "soon", 1e300, None]
    for i, time in enumerate(times):
        rows.append(orjson.dumps({"value": {**ROW, "id": f"t{i}"}, "timestamp": 0}))
        rows[-1] = rows[-1].replace(b'"timestamp":0', b'"timestamp":%s' % _json(time))
    rows += [orjson.dumps({**ROW, "ext": {"ts": 2**63 - 1}}), orjson.dumps({**ROW, "ext": 7})]
    rows += [b'{"value":{"id":"h","imp":[{}]},"headers":[["weir","{"],7]}', b'{"value":null}']
    rows += [b"", b"{broken", b"\xff\xfe", b"[" * 2000, b'{"value":[1],"timestamp":1e999}', b"7"]
    first = tmp_path / "a.jsonl"
    first.write_bytes(b"\n".join(rows))
    table = pl.DataFrame(
        {"value": [orjson.dumps(ROW)] * 2, "timestamp": [2**64 - 1, 5], "other": [1, 2]},
        schema_overrides={"timestamp": pl.UInt64},
    )
    table.write_parquet(tmp_path / "b.parquet")
    table.select("value").write_parquet(tmp_path / "c.parquet")
    options = ReplayOptions(str(tmp_path / "?.*"), tmp_path / "out")
    summary = await run_replay(tiny(make_artifact(), capacity=5.0), options)
    assert summary["requests"] == 9 + 2 + 2 + 5 + 2 + 2
    assert summary["decided"] == 9 + 2 + 1 + 2 + 2
    assert summary["refused_headers"] == 1
    assert sum(summary["rejects"].values()) == summary["rejected"] == 6
    places = ReplayFolder(tmp_path / "out").rejects().collect()["place"].to_list()
    assert places == [f"{first}:{line}" for line in (13, 15, 16, 17, 18, 19)]


def _json(time: Any) -> bytes:
    return str(time).encode() if isinstance(time, int) else orjson.dumps(time)


async def test_outcomes_of_unknown_requests_are_counted(
    make_artifact: Make, tmp_path: Path
) -> None:
    """And malformed ones, with their place; labels are those of logged passes alone."""
    source, outcomes = tmp_path / "r.jsonl", tmp_path / "o.jsonl.gz"
    header = '{"model":"m","e":0.5,"threshold":0.1,"reason":"score","propensity":1.0,"offset":0}'
    rows = [
        {
            "value": {**ROW, "id": f"r{i}"},
            "timestamp": START_MS + 1000 * i,
            "headers": [["weir", header]] if i % 2 else [],
        }
        for i in range(400)
    ]
    source.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    said = [Outcome(f"r{i}", "click", START_MS + 1000 * i + 5).to_bytes() for i in range(100)]
    said += [Outcome("stranger", "click", START_MS).to_bytes(), b'{"task":"click","ts":1}', b""]
    said += [Outcome("r1", "other", START_MS).to_bytes()]
    outcomes.write_bytes(gzip.compress(b"\n".join(said)))
    options = ReplayOptions(str(source), tmp_path / "out", str(outcomes), rows_per_part=150)
    summary = await run_replay(tiny(make_artifact()), options)
    found = summary["outcomes"]
    assert (found["used"], found["unlogged"], found["unknown_request"]) == (50, 50, 1)
    assert (found["unknown_task"], found["malformed"]) == (1, 1)
    assert found["malformed_first"][0].startswith(f"{outcomes}:102: ")
    labels = ReplayFolder(tmp_path / "out").labels()
    assert labels is not None
    label = labels.collect()["label_click"].to_list()
    assert label[:4] == [None, True, None, True]
    assert label[101] is False
    assert label[399] is None
    assert summary["tasks"]["click"]["events"] == 50


async def test_an_artifact_of_other_tasks_is_refused(make_artifact: Make, tmp_path: Path) -> None:
    """Before anything is read."""
    source = tmp_path / "r.jsonl"
    source.write_bytes(lines())
    settings = tiny(make_artifact()).model_copy(update={"tasks": [Task(name="win", window_s=1)]})
    settings = settings.model_copy(update={"policy": Settings().policy})
    with pytest.raises(Exception, match="predicts click, online, but the settings list win"):
        await run_replay(settings, ReplayOptions(str(source), tmp_path / "out"))
