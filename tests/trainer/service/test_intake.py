"""The daemon as the writer of its store, against the embedded broker."""

import asyncio
import json
from pathlib import Path

import pytest

from models.settings import Settings
from models.settings.gates import GateLimits
from stream.kafka.topics import ensure_topics
from tests.trainer.service import test_daemon
from tests.trainer.service.test_daemon import (
    TASKS,
    accepted,
    ids,
    publish,
    running,
    traffic,
    until,
)
from tests.trainer.store.rows import SPEC, brute_force, contents, read
from trainer.service.daemon import TrainerDaemon
from trainer.store.lease import LostLeaseError
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows

#: Fixtures.
serving, settings = test_daemon.serving, test_daemon.settings


@pytest.mark.broker
async def test_a_second_trainer_waits_and_takes_over(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the holder, consumes nothing, and goes on where the first one stopped."""
    monkeypatch.setattr("trainer.service.daemon.ACQUIRE_S", 0.1)
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, 100))
    async with running(settings, GateLimits()) as first:
        await until(accepted(first, 100))
        monkeypatch.setattr("trainer.store.lease.socket.gethostname", lambda: "elsewhere")
        second = TrainerDaemon(settings)
        stop = asyncio.Event()
        waiting = asyncio.create_task(second.run(stop))
        await until(lambda: "the store is written by weir trainer (process" in caplog.text)
        assert "lease" in second._health.unready()
        assert not accepted(second, 100)()
    await until(lambda: second._health.unready() == {})
    await publish(settings, traffic(100, 50))
    await until(accepted(second, 50))
    stop.set()
    await waiting
    assert ids(settings) == sorted(f"r{number}" for number in range(150))


@pytest.mark.broker
async def test_a_trainer_that_lost_its_store_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.service.daemon.LEASE_S", 0.3)
    await ensure_topics(settings.kafka, settings.topics)
    daemon = TrainerDaemon(settings)
    task = asyncio.create_task(daemon.run(asyncio.Event()))
    await until(lambda: daemon._health.unready() == {})
    lease = Path(settings.trainer.store) / "lease.json"
    taken = json.loads(lease.read_text()) | {"name": "other", "token": "t"}
    lease.write_text(json.dumps(taken))
    with pytest.raises(LostLeaseError, match="taken over by other"):
        await asyncio.wait_for(task, 60)


@pytest.mark.broker
async def test_requests_and_outcomes_meet_in_a_snapshot(settings: Settings, tmp_path: Path) -> None:
    """Whichever comes first; labels are final once the watermark has passed their windows."""
    await ensure_topics(settings.kafka, settings.topics)
    made, outcomes = traffic(0, 400)
    windows = AttributionWindows(TASKS, 1_000.0, 0.5)
    async with running(settings, GateLimits()) as daemon:
        await publish(settings, (made[:200], outcomes[200:]))
        await until(accepted(daemon, 200))
        await publish(settings, (made[200:], outcomes[:200]))
        await until(accepted(daemon, 400))
        newest = max(one.ts for one in made)
        await until(lambda: (daemon._intake.watermark.ms or 0) > newest + windows.hold_ms)
    done = write_snapshot(settings.trainer.store, tmp_path / "s", SPEC, windows, 10**6)
    deliveries = [(one, number % 2, number // 2) for number, one in enumerate(made)]
    assert contents(tmp_path / "s") == brute_force(deliveries, outcomes, done.watermark, windows)
    labels = read(tmp_path / "s").select("label_click", "label_deal")
    assert labels.null_count().row(0) == (0, 0)
