"""Live changes and spending reports, applied by real workers over a real broker."""

import time
from pathlib import Path

import pytest

from models.settings import Settings
from stream.control.client import write_control
from stream.messages import Spending, write_spending
from tests.stream.control.workers import blocked_share, produce, publish, tiny, until, worker

__all__ = ["tiny"]

pytestmark = pytest.mark.broker
APPLIED_S = 2.0


async def test_a_change_is_in_force_within_two_seconds_and_a_bad_one_is_refused(
    tiny: Settings, tmp_path: Path
) -> None:
    """A worker applies and reports a change in time; a bad message leaves the policy as it was."""
    async with worker(tiny, tmp_path, "worker") as (child, port):
        await publish(tiny, 0, 2000)
        before = await until(child, port, lambda sample: sample.requests == 2000)
        assert (before.revision, before.target) == (-1, 0.5)
        revision = await write_control(tiny, "*", {"rate": 0.8})
        written_s = time.monotonic()
        await until(child, port, lambda sample: sample.revision == revision)
        assert time.monotonic() - written_s <= APPLIED_S
        for bad in (b'{"rate": 1.5}', b'{"rte": 0.1}', b'{"reward": "click + "}', b"{oops"):
            await produce(tiny, tiny.topics.control, "*", bad)
        revision = await write_control(tiny, "strict", {"rate": 0.7})
        await until(child, port, lambda sample: sample.revision == revision)
        await publish(tiny, 2000, 3000)
        after = await until(child, port, lambda sample: sample.requests == 5000)
        log = child.log.read_text()
    assert after.target == 0.8
    assert log.count("the old policy stays") == 4
    assert "rate: must be less than or equal to 1 (found 1.5)" in log
    assert await blocked_share(tiny, 2000) == pytest.approx(0.8, abs=0.02)


async def test_scenarios_hold_rates_of_their_own_and_reports_drive_one(
    tiny: Settings, tmp_path: Path
) -> None:
    """The scenario is read from the request; a spent budget brings the rate to its bound."""
    async with worker(tiny, tmp_path, "worker") as (child, port):
        await publish(tiny, 0, 3000, "strict")
        await until(child, port, lambda sample: sample.requests == 3000)
        assert await blocked_share(tiny, 0) == pytest.approx(0.9, abs=0.02)
        change = {"consumption": {"most": 0.95}, "rate": 0.2}
        revision = await write_control(tiny, "*", change)
        await until(child, port, lambda sample: sample.revision == revision)
        spending = Spending(budget=100.0, spent=100.0, start=0, end=86_400_000, ts=3_600_000)
        await produce(tiny, tiny.topics.consumption, "*", write_spending(spending))
        await produce(tiny, tiny.topics.consumption, "*", b'{"budget": "much"}')
        await until(child, port, lambda _: "budget: Expected" in child.log.read_text())
        await publish(tiny, 3000, 3000)
        sample = await until(child, port, lambda sample: sample.requests == 6000)
        assert sample.target == pytest.approx(0.95)
    assert await blocked_share(tiny, 3000) == pytest.approx(0.95, abs=0.02)
