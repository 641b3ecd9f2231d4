"""Committed offsets that are past the end of their partition, or gone."""

import asyncio
from pathlib import Path

import pytest

from models.settings import Settings
from stream.verify.verifier import account
from tests.kafka.topics import (
    DEADLINE_S,
    commit,
    exact,
    filtered_up_to,
    logged,
    metric,
    rows,
    send,
)
from tests.stream.intercept.test_worker import worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


async def test_an_offset_past_the_end_stops_with_a_sentence(
    worker_settings: Settings, tmp_path: Path
) -> None:
    """It says what happened and how to set the offsets; nothing is filtered on a guess."""
    await send(worker_settings, rows(0, 10))
    await commit(worker_settings, 50)
    async with worker(worker_settings, tmp_path) as (child, _):
        assert await asyncio.wait_for(child.wait(), DEADLINE_S) != 0
    log = child.log.read_text()
    assert (
        f"group {worker_settings.kafka.group} has committed offset 50, and the topic ends at 10"
        in log
    )
    assert "weir offsets reset --to earliest" in log
    assert (await account(worker_settings)).missing == 10


@pytest.mark.parametrize("choice", ["earliest", "latest", "refuse"])
async def test_offsets_that_are_gone_are_said_and_a_setting_chooses(
    worker_settings: Settings, tmp_path: Path, choice: str
) -> None:
    """Earliest filters again, latest leaves out what waits, refuse ends; all of it in the log."""
    mine = worker_settings.override(
        {"worker.offsets_missing": choice, "kafka.group": f"{worker_settings.kafka.group}-anew"}
    )
    await send(worker_settings, rows(0, 100))
    async with worker(worker_settings, tmp_path, "first") as (child, _):
        await exact(worker_settings, child)
        assert "no committed offsets" not in child.log.read_text()
        await child.stop()
    await send(worker_settings, rows(100, 50))
    async with worker(mine, tmp_path, "second") as (child, port):
        if choice == "refuse":
            assert await asyncio.wait_for(child.wait(), DEADLINE_S) != 0
            assert "worker.offsets_missing = refuse" in child.log.read_text()
            return
        await filtered_up_to(mine, child, 150)
        await logged(child, rf"worker.offsets_missing = {choice} starts at \[0\]")
        assert await metric(port, "weir_offsets_missing_total") == 1
    found = await account(mine)
    assert found.doubled == (100 if choice == "earliest" else 0)
    assert found.missing == (50 if choice == "latest" else 0)
