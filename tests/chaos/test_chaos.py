"""The short version of `make chaos`: every kind of failure, on three brokers, in minutes."""

from pathlib import Path

import pytest

from chaos.__main__ import play
from chaos.run import Scenario
from chaos.schedule import Dose

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_is_lost_whatever_fails(kafka_jars: Path, tmp_path: Path) -> None:
    """Four kill -9, a zombie, a drained stop and a bounced broker: every request accounted for."""
    dose = Dose(kills=4, freezes=1, stops=1, scales=0, brokers=1)
    scenario = Scenario("short", 5, 25_000, dose)
    record = play(scenario, tmp_path, kafka_jars, print)
    assert record["kill_9"] == 4
    assert record["requests"] >= 25_000
    assert record["failures"] == []
