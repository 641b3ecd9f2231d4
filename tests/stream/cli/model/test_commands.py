"""`weir model` as an operator types it, with a running worker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from models.errors import UserError
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.cli.model.queries import model
from stream.kafka.client import client_options
from stream.metrics.scrape import scrape
from stream.transport import ChunkSink, Outgoing
from tests.stream.cli.process import one_sentence, output_of, weir
from tests.tiny_artifact import TASKS, Make

pytestmark = pytest.mark.broker
DEADLINE_S = 60.0


@pytest.fixture
def tiny_settings(settings: Settings, make_artifact: Make) -> Settings:
    """Settings for the tiny artifact's two tasks; v0 is configured."""
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.5, "weights": {"click": 1.0}, "uncertainty_source": "own"}
    mine = Settings(**{**settings.model_dump(), "tasks": tasks, "policy": policy})
    return mine.override({"model.artifact": str(make_artifact("zero", version="v0"))})


class Operator:
    """Types commands of `weir model`; they run in this process, as far as they are tested here."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def types(self, *words: str, status: int = 0) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, model, words, obj=self.settings)
        if isinstance(done.exception, UserError):
            raise done.exception
        assert done.exit_code == status, (done.output, done.exception)
        return done.stdout

    async def asks(self, *words: str, status: int = 0) -> Any:
        return orjson.loads(await self.types(*words, "--json", status=status))

    async def errs(self, *words: str) -> str:
        with pytest.raises(UserError) as caught:
            await self.types(*words)
        assert "\n" not in str(caught.value)
        return str(caught.value)


async def until(child: ChildProcess, done: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await done():
        child.check()
        assert time.monotonic() < deadline, child.log.read_text()
        await asyncio.sleep(0.05)


async def requests(settings: Settings, start: int, count: int) -> None:
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for i in range(start, start + count):
            value = orjson.dumps({"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 41}"}})
            row = Outgoing(b"%d" % i, value, 1_700_000_000_000 + i * 1000, ())
            await sink.send(settings.topics.requests, i % settings.kafka.partitions, [row])


async def test_publish_promote_roll_back(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """A worker follows each of them; the history says what served when, why, and who chose it."""
    port = free_port()
    operator = Operator(tiny_settings)
    mine = tiny_settings.override({"worker.metrics_port": port})

    async def serves(version: str, count: int = 0) -> bool:
        sample = (await scrape([port])).get(port)
        return sample is not None and sample.model == version and sample.requests >= count

    for version in ("v1", "v2"):
        folder = make_artifact(version, version=version, seed=int(version[1]))
        done = await operator.asks("publish", str(folder))
        assert done == {"version": version, "url": f"{mine.model.registry}/{version}"}
    child = ChildProcess("worker", ["worker"], tmp_path / "worker.log", mine.environment())
    async with child:
        await until(child, lambda: serves("v0"))
        first = await operator.types("promote", "v1", "--reason", "the first one", "--by", "ann")
        assert first.startswith("announced v1, instead of v0 (offset ")
        await until(child, lambda: serves("v1"))
        await requests(mine, 0, 400)
        await until(child, lambda: serves("v1", 400))
        between_ms = int(time.time() * 1000)
        second = await operator.asks("promote", "v2")
        assert (second["cause"], second["previous"]) == ("promote", "v1")
        await until(child, lambda: serves("v2"))
        await requests(mine, 400, 400)
        await until(child, lambda: serves("v2", 800))
        back = await operator.types("rollback", "--reason", "fewer deals", "--by", "bob")
        assert back.startswith("v1 serves again, instead of v2 (offset ")
        await until(child, lambda: serves("v1"))
        await requests(mine, 800, 400)
        await until(child, lambda: serves("v1", 1200))
    rows = await operator.asks("history")
    assert [(row["version"], row["cause"], row["previous"]) for row in rows] == [
        ("v1", "promote", "v0"),
        ("v2", "promote", "v1"),
        ("v1", "rollback", "v2"),
    ]
    assert [row["reason"] for row in rows] == ["the first one", "", "fewer deals"]
    assert [row["by"].partition("@")[0] for row in rows][::2] == ["ann", "bob"]
    assert [row["until"] for row in rows] == [rows[1]["from"], rows[2]["from"], None]
    (then,) = await operator.asks("history", "--at", str(between_ms))
    assert then == rows[0]
    assert "model.artifact served" in await operator.types("history", "--at", "2024-01-01")
    table = await operator.types("history")
    assert "fewer deals" in table
    decided = await operator.asks("history", "--decided")
    by_partition: dict[int, list[str]] = {}
    for run in decided["runs"]:
        by_partition.setdefault(run["partition"], []).append(run["version"])
    assert by_partition == {p: ["v1", "v2", "v1"] for p in range(mine.kafka.partitions)}
    assert (decided["unreadable"], decided["left_out"]) == (0, 0)
    half = ["--from", str(1_700_000_000_000 + 400_000), "--to", "2023-11-14T22:26:40"]
    part = (await operator.asks("history", "--decided", *half))["runs"]
    assert {run["version"] for run in part} == {"v2"}
    assert {run["since"] >= "2023-11-14T22:20:00+00:00" for run in part} == {True}


async def test_look_and_verify(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """What is there, what serves, what differs, and what a worker would refuse."""
    operator = Operator(tiny_settings)
    assert await operator.asks("list") == []
    for version, seed in (("v1", 1), ("v2", 2)):
        created = f"2026-01-0{seed}T00:00:00+00:00"
        folder = make_artifact(version, version=version, seed=seed, created=created)
        await operator.types("publish", str(folder))
    await operator.types("announce", "v1")
    rows = await operator.asks("list")
    assert [(row["version"], row["serving"], row["signed"]) for row in rows] == [
        ("v1", True, None),
        ("v2", False, None),
    ]
    assert rows[0]["auc"] == {"click": 0.8, "online": 0.8}
    assert rows[0]["bytes"] > 1_000
    assert (rows[0]["announced"] is None, rows[1]["announced"]) == (False, None)
    table = (await operator.types("list")).splitlines()
    assert table[1].startswith("*  v1")
    shown = await operator.asks("show", "v1")
    assert (shown["manifest"]["seed"], len(shown["announced"])) == (1, 1)
    text = await operator.types("show", "v1")
    assert shown["manifest_sha256"] in text
    gates = [
        {"gate": "log-loss", "verdict": "pass", "low": 0.01, "deep": {"x": 1}},
        {"gate": "\x1b[2J"},
    ]
    file = Path(tiny_settings.model.registry) / "v1" / "gates.json"
    for document in ({"verdict": "pass", "gates": gates}, [gates], 5):
        file.write_bytes(orjson.dumps(document))
        text = await operator.types("show", "v1")
        assert "pass" in text or document == 5
        assert "\x1b" not in text
    found = await operator.asks("diff", "v1", "v2")
    assert found["versions"] == ["v1", "v2"]
    assert found["manifest"]["seed"] == [1, 2]
    assert found["features"] == {"added": [], "removed": [], "changed": []}
    assert "the features are the same" in await operator.types("diff", "v1", "v2")
    assert [row["fault"] for row in await operator.asks("verify")] == ["", ""]
    with (Path(tiny_settings.model.registry) / "v2" / "student.onnx").open("r+b") as file:
        file.write(b"\xff")
    assert [row["fault"] for row in await operator.asks("verify", status=1)] == [
        "",
        "hash-mismatch",
    ]
    assert (await operator.asks("verify", "v1"))[0]["us"] > 0
    removed = await operator.asks("gc", "--keep", "1", "--older-than", "1", "--dry-run")
    assert removed["removed"] == []


async def test_gc_removes_what_is_old_and_unused_and_nothing_else(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """Folders of the removed versions are gone; all other files of the registry are untouched."""
    operator = Operator(tiny_settings)
    for number in range(1, 7):
        made = f"2024-01-0{number}T00:00:00+00:00"
        folder = make_artifact(f"made{number}", version=f"v{number}", created=made)
        await operator.types("publish", str(folder))
    for version in ("v2", "v3", "v4"):
        await operator.types("promote", version, "--reason", "a test")
    registry = Path(tiny_settings.model.registry)
    trials = registry / "trials"
    trials.mkdir()
    for name in (f"{'0' * 64}.json", f"{'a' * 64}.json.part"):
        (trials / name).write_text('{"serving": "x", "trials": []}')
    (registry / "notes.txt").write_text("of somebody")
    (registry / "v0.broken").mkdir()  # a copy without its manifest
    (registry / "v0.broken" / "student.onnx").write_bytes(b"half")

    def files() -> dict[str, bytes]:
        return {
            str(path.relative_to(registry)): path.read_bytes()
            for path in registry.rglob("*")
            if path.is_file()
        }

    before = files()
    arguments = ["gc", "--keep", "1", "--older-than", "0"]
    dry = await operator.asks(*arguments, "--dry-run")
    assert (dry["done"], files()) == (False, before)
    done = await operator.asks(*arguments)
    assert done["removed"] == dry["removed"] == ["v1", "v2", "v5"]
    assert set(done["kept"]) == {"v3", "v4", "v6"}  # a rollback's target, what serves, the newest
    after = files()
    gone = {name: content for name, content in before.items() if name not in after}
    assert {name.split("/")[0] for name in gone} == set(done["removed"])
    assert done["bytes"] == sum(map(len, gone.values()))
    assert after.items() <= before.items()
    assert not any((registry / version).exists() for version in done["removed"])
    rows = await operator.asks("list")
    assert [(row["version"], row["serving"]) for row in rows] == [
        ("v3", False),
        ("v4", True),
        ("v6", False),
    ]
    again = await operator.asks(*arguments)
    assert (again["removed"], again["bytes"]) == ([], 0)
    assert (await operator.asks("rollback", "--reason", "a test"))["version"] == "v3"


def test_a_mistake_is_one_line_and_status_2(tiny_settings: Settings, tmp_path: Path) -> None:
    """As of every command."""
    process = weir(tmp_path, "model", "promote", "v1", environment=tiny_settings.environment())
    assert "no version 'v1' is published" in one_sentence(output_of(process))


async def test_mistakes(tiny_settings: Settings, make_artifact: Make, tmp_path: Path) -> None:
    """Each error names what was wrong and what to do."""
    operator = Operator(tiny_settings)
    for version in ("v1", "v2"):
        await operator.types("publish", str(make_artifact(version, version=version)))
    with (Path(tiny_settings.model.registry) / "v2" / "student.onnx").open("r+b") as file:
        file.write(b"\xff")

    assert "no version 'v11' is published; did you mean 'v1'?" in await operator.errs("show", "v11")
    assert "no version '../v1' is published" in await operator.errs("promote", "../v1")
    assert "hash-mismatch" in await operator.errs("promote", "v2")
    assert "no announced version can be loaded" in await operator.errs("rollback")
    await operator.types("promote", "v1")
    assert "v1 serves already" in await operator.errs("promote", "v1")
    assert "no version served before v1" in await operator.errs("rollback")
    assert "v2 never served" in await operator.errs("rollback", "--to", "v2")
    assert "is no time" in await operator.errs("history", "--at", "yesterday")
    assert "reason" in await operator.errs("announce", "v1", "--reason", "x" * 5_000)
    assert "model.signing_key is not set" in await operator.errs("sign", "v1")
    assert "missing-file" in await operator.errs("publish", str(tmp_path / "absent"))


async def test_signed_versions(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Keys are made, versions signed and announced, and others refused before workers do."""
    operator = Operator(tiny_settings)
    await operator.types("publish", str(make_artifact("v1", version="v1")))
    said = await operator.types("keygen", str(tmp_path / "key.pem"))
    assert f"model.signing_key = '{tmp_path}/key.pem'" in said
    assert "PRIVATE" not in said
    operator.settings = tiny_settings.override({"model.public_key": str(tmp_path / "key.pem.pub")})
    refused = await operator.errs("promote", "v1")
    assert "unsigned" in refused
    assert "weir model sign VERSION" in refused
    operator.settings = operator.settings.override({"model.signing_key": str(tmp_path / "key.pem")})
    await operator.types("sign", "v1")
    await operator.types("publish", str(make_artifact("v2", version="v2")))
    await operator.types("promote", "v1")
    assert [row["signed"] for row in await operator.asks("list")] == [True, True]
