"""`weir broker --kafka` from a wheel: what it needs besides Java and Maven is in the package."""

from pathlib import Path

import pytest

from tests.installed import Installed

pytestmark = pytest.mark.kafka


def test_kafka_starts_from_a_wheel(installed: Installed, kafka_jars: Path, tmp_path: Path) -> None:
    """The pom and the logging configuration are found; clients reach the broker."""
    kafka_jars.mkdir(parents=True, exist_ok=True)
    (tmp_path / "jars").symlink_to(kafka_jars)
    command = ("broker", "--kafka", "--port", "0", "--folder", str(tmp_path))
    with installed.running(*command) as broker:
        address = broker.until(r'bootstrap = "(\S+)"')[1]
        broker.until(f"on {address}")
        assert "created: " in installed.output("--bootstrap", address, "topics")
