"""The daemon's upkeep of its store."""

import asyncio
import time
from pathlib import Path

import pytest

from models.settings import Settings, load_settings
from stream.messages import Outcome
from tests.trainer.store.rows import TASKS, append, example, store_at
from trainer.service import upkeep as subject
from trainer.service.metrics import TrainerMetrics
from trainer.service.upkeep import Upkeep
from trainer.store.lease import Lease
from trainer.store.maintenance import MERGED_FILES

HOUR_MS = 3_600_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        flags={
            "trainer.store": str(tmp_path),
            "trainer.retention_days": 1.0,
            "trainer.keep_negatives": 0.001,
            "policy.weights": {"click": 1.0},
            "tasks": [task.model_dump() for task in TASKS],
        }
    )


@pytest.mark.parametrize("held", [True, False])
async def test_a_round_drops_thins_and_merges_while_the_lease_is_held(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    monkeypatch.setattr(subject, "ROUND_S", 0.01)
    monkeypatch.setattr(subject, "THINNED_HOURS", 1)
    now = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    store = store_at(tmp_path)
    for n in range(MERGED_FILES):
        made = [example(f"r{n}-{hour}", now - hour * HOUR_MS) for hour in (2, 6, 30)]
        append(store, made, [Outcome(f"r{n}-6", "click", now - 6 * HOUR_MS + 9)], now)
    lease = Lease(str(tmp_path), "a")
    if held:
        lease.acquire()
    metrics = TrainerMetrics()
    task = asyncio.create_task(Upkeep(settings, lease, metrics, time.time).run())
    deadline = time.monotonic() + 120
    while held and len(store_at(tmp_path).examples.files) > 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    task.cancel()
    left = store_at(tmp_path).examples
    assert left.rows == (2 if held else 3) * MERGED_FILES
    assert len(left.files) == (2 if held else 3 * MERGED_FILES)
    errors = metrics.registry.get_sample_value("weir_trainer_errors_total", {"kind": "maintenance"})
    assert not errors


async def test_a_failure_is_counted_and_the_next_step_is_done(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ROUND_S", 0.01)

    def fail(*_: object) -> None:
        raise OSError("no disk")

    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(subject, "drop_expired", fail)
    monkeypatch.setattr(subject, "vacuum", lambda *_: loop.call_soon_threadsafe(done.set))
    store_at(tmp_path)
    lease = Lease(str(tmp_path), "a")
    lease.acquire()
    metrics = TrainerMetrics()
    task = asyncio.create_task(Upkeep(settings, lease, metrics, time.time).run())
    await asyncio.wait_for(done.wait(), 60)
    task.cancel()
    errors = metrics.registry.get_sample_value("weir_trainer_errors_total", {"kind": "maintenance"})
    assert errors
