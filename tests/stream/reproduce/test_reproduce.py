"""Live equals replay: journals of real workers, repeated and compared with what they wrote."""

import asyncio
from pathlib import Path

import pytest

from models.settings import Settings
from stream.messages import ModelRole
from stream.messages.journal import BatchDecided, Entry, StatesMerged
from stream.reproduce.reproduce import reproduce
from tests.stream.control.workers import until
from tests.stream.reproduce.fleet import (
    announced,
    change,
    journaled,
    publish,
    reading,
    released,
    rewritten,
    worker,
    written,
)
from tests.tiny_artifact import Make, tiny_student

pytestmark = pytest.mark.broker


async def test_one_worker_is_reproduced_byte_for_byte(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Rejects, scenarios, exploration and direct passes among 20,000 requests; it stops cleanly."""
    live = journaled(settings, make_artifact())
    async with worker(live, tmp_path, "one") as (child, port):
        for start in range(0, 20_000, 5_000):
            await publish(live, start, 5_000)
            await until(child, port, lambda s, least=start + 5_000: s.requests >= least)
        await child.stop()
    found = await reproduce(settings.override({"model.artifact": live.model.artifact}))
    rejected = len(range(0, 20_000, 97))
    assert found["exact"], found
    assert found["written"] == found["reproduced"] == 20_000 - rejected
    assert (found["differ"], found["not_in_a_journal"], found["never_written"]) == (0, 0, 0)
    (one,) = found["workers"]
    assert (one["journal"], one["why"]) == ("stopped", "")


async def test_two_workers_through_a_change_a_swap_a_canary_and_rebalances(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """A fleet of two that gets other settings, other models, and loses a member, is reproduced."""
    live = journaled(settings, make_artifact("zero", version="v0"))
    inverted = tiny_student(weights=[-0.1] * 3).SerializeToString()
    two = released(live, make_artifact("two", version="v2", onnx_bytes=inverted), "v2")
    sent = 0

    async def traffic(rounds: int) -> None:
        nonlocal sent
        for _ in range(rounds):
            await publish(live, sent, 2_000)
            sent += 2_000
            await asyncio.sleep(0.5)  # the fleet shares its state once a second

    async with worker(live, tmp_path, "one") as (one, one_port):
        await traffic(3)
        await until(one, one_port, lambda s: s.requests >= 4_000)
        async with worker(live, tmp_path, "two") as (other, other_port):
            await reading(other)
            await traffic(3)
            await change(live, "*", {"rate": 0.7})
            await traffic(2)
            await announced(live, two, ModelRole.CANARY)
            await traffic(3)
            await announced(live, two)
            await traffic(3)
            await until(other, other_port, lambda s: s.requests >= 3_000)
            await other.stop()
        await change(live, "strict", {"rate": 0.8, "explore": 0.2})
        await traffic(3)
        await written(live, sent)
        await one.stop()
    found = await reproduce(settings.override({"model.artifact": live.model.artifact}))
    assert found["exact"], found
    assert found["differ"] == 0
    assert found["reproduced"] > 30_000
    assert [each["journal"] for each in found["workers"]] == ["stopped", "stopped"]
    assert all(each["decisions"] > 2_000 for each in found["workers"])
    await _a_journal_without_one_merge_differs(live)


async def _a_journal_without_one_merge_differs(live: Settings) -> None:
    """The comparison finds a journal that lacks one merge, and where that shows first."""
    before = 0

    def without_one(worker: int, entries: list[Entry]) -> list[Entry]:
        """Of the first worker, drop the first state of two workers that decided anything.

        The next merge sets right what the lost one left out, but not what was decided meanwhile.
        """
        nonlocal before
        if worker:
            return entries
        at = None
        for index, entry in enumerate(entries):
            if isinstance(entry, StatesMerged) and entry.states:
                two = any(b'"workers":2' in value for _, value in entry.states)
                at = index if two else None
            elif isinstance(entry, BatchDecided) and at is not None:
                break
        assert at is not None
        before = sum(isinstance(entry, BatchDecided) for entry in entries[:at])
        return entries[:at] + entries[at + 1 :]

    found = await reproduce(await rewritten(live, without_one, "cut"))
    assert not found["exact"]
    assert found["differ"] > 0
    assert found["workers"][0]["differ"] == found["differ"]  # the other worker's is as it was
    first = found["first_differences"][0]
    assert first["batch"] > before
    assert first["written"] != first["repeated"]
    assert first["request"].startswith(live.topics.requests)
