"""A write that takes long is reported with its reason until it is done."""

import asyncio
from collections.abc import Mapping

import pytest

from stream.transport.incidents import Incidents
from stream.transport.output.slow_writes import SlowWrites
from tests.stream.transport.apps import until


async def test_a_slow_write_is_reported_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the highest partition number that is written to; a fast write is never reported."""
    monkeypatch.setattr("stream.transport.output.slow_writes.PATIENCE_S", 0.0)
    monkeypatch.setattr("stream.transport.output.slow_writes._CHECK_S", 0.01)
    asked: list[Mapping[str, int]] = []

    async def diagnose(wanted: Mapping[str, int]) -> Mapping[str, str]:
        asked.append(dict(wanted))
        return dict.fromkeys(wanted, "no leader")

    incidents = Incidents()
    writes = SlowWrites(diagnose, incidents)
    with writes.writing(0, ["fast"]):
        pass
    writes.start()
    with writes.writing(2, ["out"]), writes.writing(5, ["out", "other"]):
        await until(lambda: incidents.blocked == {"out", "other"})
    await until(lambda: incidents.blocked == frozenset())
    await writes.stop()
    assert asked[0] == {"out": 5, "other": 5}


async def test_a_write_that_ends_during_the_diagnosis_is_not_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is reported is still in progress."""
    monkeypatch.setattr("stream.transport.output.slow_writes.PATIENCE_S", 0.0)
    monkeypatch.setattr("stream.transport.output.slow_writes._CHECK_S", 0.01)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def diagnose(wanted: Mapping[str, int]) -> Mapping[str, str]:
        asked.set()
        await answer.wait()
        return dict.fromkeys(wanted, "no leader")

    class Never(Incidents):
        def writes_blocked(self, reasons: Mapping[str, str], seconds: float) -> None:
            raise AssertionError(reasons, seconds)

    writes = SlowWrites(diagnose, Never())
    writes.start()
    with writes.writing(0, ["out"]):
        await asked.wait()
    answer.set()
    await asyncio.sleep(0)
    await writes.stop()
