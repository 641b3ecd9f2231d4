"""A soak run of half a minute; `make soak` runs an hour."""

from pathlib import Path

import pytest
from rich.console import Console

from chaos.soak.__main__ import play
from chaos.soak.report import flat, table
from chaos.soak.roles import Role, limits
from chaos.soak.run import Found, Plan
from tests.kafka.conftest import kafka_jars  # noqa: F401 - a fixture

MIB = 1 << 20


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_half_a_minute_of_everything(tmp_path: Path, kafka_jars: Path) -> None:  # noqa: F811
    """All roles run, stay within compose's limits, lose nothing, log little, stop on SIGTERM."""
    run = play(Plan(minutes=0.5, rate=200.0), tmp_path, kafka_jars, Console())
    assert run["failures"] == []
    assert run["decided"] == run["account"]["requests"] == 6_000
    assert 0 < run["examples"] <= run["account"]["passed"]
    assert set(run["roles"]) == {"kafka", "worker-1", "worker-2", "feedback", "trainer"}
    assert table(run).row_count == 5


def test_limits_are_those_of_the_compose_file() -> None:
    """In bytes, by service."""
    assert limits()["worker"] == 512 * MIB
    assert limits()["feedback"] == 512 * MIB


@pytest.mark.parametrize(
    ("service", "growth", "ok"),
    [("worker", 0, True), ("worker", 60, False), ("feedback", 60, False), ("trainer", 1000, True)],
)
def test_growth_is_seen(service: str, growth: int, *, ok: bool) -> None:
    """Memory that grows in the last third is a fault."""
    memory = [(float(i), (300 + (growth if i >= 60 else 0)) * MIB) for i in range(90)]
    found = Found(seconds=3600.0)
    assert flat(Role(service, service, 1, memory=memory), found) is ok
