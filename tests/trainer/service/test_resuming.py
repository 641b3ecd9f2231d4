"""Rebuilds that are interrupted: `kill -9` of the process, and of the trainer, at each stage."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from models.artifact import load_artifact
from models.artifact.manifest import CARD_FILE
from models.artifact.registry import Registry
from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.kafka.topics import ensure_topics
from tests.trainer.service.test_daemon import (
    LENIENT,
    ROWS,
    announcements,
    publish,
    running,
    sample,
    traffic,
    until,
)
from trainer.gates.report import GATES_FILE
from trainer.pipeline.rebuild import rebuild
from trainer.pipeline.rebuild_job import RebuildJob


def rebuilds() -> list[int]:
    """Process ids of all running rebuilds of this user."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"trainer.pipeline.rebuild\0" in command:
            found.append(int(process.name))
    return found


def of(pids: list[int], settings: Settings) -> list[int]:
    """Those that work for these settings."""
    store = settings.trainer.store.encode()
    return [pid for pid in pids if store in Path(f"/proc/{pid}/cmdline").read_bytes()]


def mine(settings: Settings) -> list[int]:
    """Process ids of the running rebuilds of a store."""
    return of(rebuilds(), settings)


def scratch(settings: Settings, name: str) -> list[Path]:
    return list(Path(settings.trainer.store).glob(f"scratch/rebuild-*/{name}"))


@asynccontextmanager
async def trainer(settings: Settings, log: Path) -> AsyncIterator[ChildProcess]:
    """`weir trainer` in a process of its own."""
    async with ChildProcess("trainer", ["trainer"], log, settings.environment()) as child:
        yield child


@pytest.mark.broker
@pytest.mark.slow
async def test_a_killed_process_goes_on_and_makes_the_same_model(
    settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Named with its log; the second attempt has the snapshot; the student is that of no kill."""
    caplog.set_level("INFO", logger="trainer")
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, ROWS))
    async with running(settings, LENIENT) as daemon:
        await until(lambda: bool(scratch(settings, "work/snapshot.json")))
        (pid,) = mine(settings)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: " announced: " in caplog.text)
        await until(lambda: "rebuild finished" in caplog.text)
        count = partial(sample, daemon, "weir_trainer_rebuilds_total")
        assert (count(result="failed"), count(result="published")) == (0, 1)
        assert sample(daemon, "weir_trainer_errors_total", kind="killed") == 1
    assert "ended with status -9" in caplog.text
    assert "goes on from its checkpoint (attempt 2 of 5)" in caplog.text
    (folder,) = Path(settings.trainer.store).glob("rebuilds/*")
    assert (folder / "log.txt").read_text().count("going on with the snapshot") == 1
    assert not scratch(settings, "")
    job = RebuildJob.model_validate_json((folder / "job.json").read_bytes())
    other = {
        "folder": tmp_path / "again",
        "work": tmp_path / "work",
        "registry": job.registry.model_copy(update={"registry": str(tmp_path / "other")}),
    }
    undisturbed = await asyncio.to_thread(rebuild, job.model_copy(update=other))
    (made,) = await announcements(settings)
    assert undisturbed.version == made.version
    # The verdict has the times that scoring took; the card shows them.
    measured = {GATES_FILE, CARD_FILE}
    one, other_one = (load_artifact(url).manifest.files for url in (made.url, undisturbed.url))
    assert one.keys() == other_one.keys() >= measured
    assert {name: one[name] for name in one.keys() - measured} == {
        name: other_one[name] for name in other_one.keys() - measured
    }
    assert made.reason.endswith("new mature examples (trainer.rebuild_examples)")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "resumed"),
    [
        ("scratch/rebuild-*/work/snapshot.json", "going on with the snapshot"),
        ("rebuilds/*/candidate/manifest.json", "going on with the snapshot"),
        ("rebuilds/*/result.json", ""),
    ],
)
async def test_a_killed_trainer_goes_on(
    settings: Settings, tmp_path: Path, stage: str, resumed: str
) -> None:
    """`kill -9` of the trainer ends its rebuild, too; the next one announces that model, once."""
    lenient = settings.override({"trainer.rebuild_examples": ROWS})
    lenient = lenient.model_copy(update={"topics": settings.topics})
    await ensure_topics(lenient.kafka, lenient.topics)
    await publish(lenient, traffic(0, ROWS))
    store = Path(lenient.trainer.store)
    async with trainer(lenient, tmp_path / "first.log") as first:
        await until(lambda: bool(list(store.glob(stage))))
        first.kill()
        await first.wait()
        await until(lambda: not mine(lenient))
    (before,) = store.glob("rebuilds/*")
    log = tmp_path / "second.log"
    async with trainer(lenient, log):
        await until(lambda: log.exists() and "rebuild finished after" in log.read_text())
        text = log.read_text()
    assert f"rebuild started, resumed: {before.name} was interrupted" in text
    assert list(store.glob("rebuilds/*")) == [before]
    assert resumed in (before / "log.txt").read_text()
    assert not scratch(lenient, "")
    made = await announcements(lenient)
    assert [each.version for each in made] == Registry(lenient.model.registry).versions()
    if made:
        load_artifact(made[0].url, made[0].manifest_sha256)


@pytest.mark.broker
@pytest.mark.slow
async def test_a_rebuild_of_other_settings_is_started_over(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped in the middle; with another seed, the interrupted job's model would be another."""
    caplog.set_level("INFO", logger="trainer")
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, ROWS))
    async with running(settings, LENIENT):
        await until(lambda: bool(scratch(settings, "work/snapshot.json")))
    assert ": interrupted" in caplog.text
    assert len(scratch(settings, "work/snapshot.json")) == 1
    changed = settings.override({"trainer.seed": 3})
    changed = changed.model_copy(update={"topics": settings.topics})
    async with running(changed, LENIENT):
        await until(lambda: " announced: " in caplog.text)
    assert "seed changed since it was interrupted; it is started over" in caplog.text
    (made,) = await announcements(changed)
    assert load_artifact(made.url).manifest.seed == 3


@pytest.mark.broker
@pytest.mark.slow
async def test_a_warm_start_takes_the_weights_of_the_last_published_teacher(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The first has none; the second starts from those that the first has kept."""
    caplog.set_level("INFO", logger="trainer")
    warm = settings.override({"trainer.start": "warm", "trainer.rebuild_examples": ROWS // 2})
    warm = warm.model_copy(update={"topics": settings.topics})
    await ensure_topics(warm.kafka, warm.topics)
    store = Path(warm.trainer.store)
    async with running(warm, LENIENT):
        await publish(warm, traffic(0, ROWS // 2))
        await until(lambda: caplog.text.count("rebuild finished") == 1)
        await publish(warm, traffic(ROWS, ROWS // 2))
        await until(lambda: caplog.text.count("rebuild finished") == 2)
    assert caplog.text.count(" announced: ") == 2
    logs = [(folder / "log.txt").read_text() for folder in sorted(store.glob("rebuilds/*"))]
    assert "not there yet; the teacher starts from scratch" in logs[0]
    assert "the teacher starts from the weights of the last one" in logs[1]
    assert (store / "teacher.safetensors").exists()
