"""Jars are fetched once, and programs that fail or are missing are named."""

import sys
from pathlib import Path

import pytest

from stream.brokers import kafka_jars
from stream.brokers.kafka_jars import fetch_jars, java_command, run_all
from stream.brokers.process import BrokerError

PACKAGE = Path(kafka_jars.__file__).parent


def test_jars_of_the_same_pom_are_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven is not needed then; with another pom it is."""
    monkeypatch.setenv("PATH", "")
    stamp = tmp_path / "pom.xml"
    stamp.write_bytes((PACKAGE / "pom.xml").read_bytes())
    fetch_jars(tmp_path, tmp_path / "log")
    stamp.write_text("another")
    with pytest.raises(BrokerError, match="mvn is not installed; Kafka needs Java 17"):
        fetch_jars(tmp_path, tmp_path / "log")


def test_java_logs_as_the_package_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the option exists."""
    monkeypatch.setattr("stream.brokers.kafka_jars.shutil.which", lambda name: f"/bin/{name}")
    command = java_command(tmp_path, "kafka.Kafka", "server.properties", options=("-Xmx1m",))
    (option,) = [each for each in command if "log4j2" in each]
    assert Path(option.partition("=")[2]).is_file()
    assert command[-4:] == ["-cp", f"{tmp_path}/*", "kafka.Kafka", "server.properties"]


def test_a_program_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    """Also if another one that ran in parallel succeeds."""
    log = tmp_path / "deep" / "log"
    programs = [[sys.executable, "-c", f"print({n}); raise SystemExit({n})"] for n in (0, 3)]
    with pytest.raises(BrokerError, match=f"ended with status 3; see {log}"):
        run_all(programs, log)
    assert sorted(log.read_text().split()) == ["0", "3"]
