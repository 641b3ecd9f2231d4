"""What is missing is named, and nothing is guessed in its place."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import Settings
from stream.kafka.topics import ensure_topics
from stream.messages.journal import BatchDecided, Entry
from stream.reproduce.reproduce import ReproduceError, reproduce
from tests.stream.control.workers import until
from tests.stream.reproduce.fleet import (
    in_a_journal,
    journaled,
    publish,
    rewritten,
    worker,
    written,
)
from tests.tiny_artifact import Make

pytestmark = pytest.mark.broker
REQUESTS = 600
DECIDED = REQUESTS - len(range(0, REQUESTS, 97))


async def test_each_part_of_the_history_that_is_missing_is_named(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """No model, no requests, no beginning, no journal; a lost batch is in no journal."""
    live = journaled(settings, make_artifact())
    async with worker(live, tmp_path, "one") as (child, port):
        for start in range(0, REQUESTS, 200):
            await publish(live, start, 200)
            await until(child, port, lambda s, least=start + 200: s.requests >= least)
        await written(live, REQUESTS)
        await child.stop()

    async def broken(changed: Settings) -> str:
        found = await reproduce(changed)
        (one,) = found["workers"]
        assert not found["exact"]
        assert (found["reproduced"], found["differ"]) == (0, 0)
        assert (found["not_in_a_journal"], one["journal"]) == (DECIDED, "broken")
        assert one["not_repeated_batches"] > 0
        return str(one["why"])

    absent = live.override({"model.artifact": str(tmp_path / "absent")})
    assert "model 'v1' (sha256 " in await broken(absent)
    other = live.override({"topics.requests": f"{live.topics.requests}-other"})
    await ensure_topics(other.kafka, other.topics)
    assert "requests were decided, 0 are there" in await broken(other)
    headless = await rewritten(live, lambda _, entries: entries[1:], "headless")
    assert f"{headless.topics.journal}[" in await broken(headless)
    empty = live.override({"topics.journal": f"{live.topics.journal}-empty"})
    await ensure_topics(empty.kafka, empty.topics)
    with pytest.raises(ReproduceError, match=r"no journal; workers write one with worker\.journal"):
        await reproduce(empty)

    def without_the_last_batch(_: int, entries: list[Entry]) -> list[Entry]:
        *_, last = (at for at, entry in enumerate(entries) if isinstance(entry, BatchDecided))
        return entries[:last] + entries[last + 1 :]

    shorter = await rewritten(live, without_the_last_batch, "short")
    found = await reproduce(shorter)
    assert (found["differ"], found["workers"][0]["journal"]) == (0, "stopped")
    assert 0 < found["not_in_a_journal"] == DECIDED - found["reproduced"] < DECIDED
    assert found["first_not_in_a_journal"][0]["request"].startswith(live.topics.requests)
    await _the_command_says_so(live, shorter)


async def _the_command_says_so(live: Settings, bad: Settings) -> None:
    """Status 0 and a report if all is reproduced, else status 1."""
    for settings, status in ((live, 0), (bad, 1)):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "stream.cli", "reproduce"],
            env=settings.environment(), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        report = json.loads(done.stdout)
        assert report["exact"] is (status == 0)
        assert report["written"] == DECIDED


async def test_a_killed_worker_leaves_what_it_wrote(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """After kill -9 its journal ends open; nothing differs; what is lost is in no journal."""
    live = journaled(settings, make_artifact()).override({"worker.max_chunk_records": 50})
    await publish(live, 0, 2_000)
    async with worker(live, tmp_path, "victim") as (child, port):
        await until(child, port, lambda sample: sample.requests >= 2_000)
        await in_a_journal(live)
        await publish(live, 2_000, 6_000)
        await until(child, port, lambda sample: sample.requests > 2_000)
        child.kill()
        await child.wait()
    async with worker(live, tmp_path, "heir") as (child, port):
        await written(live, 8_000)
        await child.stop()
    found = await reproduce(live)
    victim, heir = found["workers"]
    assert found["differ"] == 0, found
    assert found["reproduced"] + found["not_in_a_journal"] == found["written"]
    assert (victim["journal"], heir["journal"]) == ("open", "stopped")
    assert victim["reproduced"] > 0
    assert heir["reproduced"] > 0
