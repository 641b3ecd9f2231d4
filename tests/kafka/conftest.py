"""The fixture `broker`, but Apache Kafka instead of the embedded broker."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.kafka_jars import available, fetch_jars

JARS = Path(__file__).parents[2] / "var" / "kafka" / "jars"
CLASSES = JARS.parent / "classes.jsa"
JAVA_OPTIONS = "JAVA_TOOL_OPTIONS"  # set in tests/conftest.py


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Folder of Kafka's jars; without Java or Maven, the test is skipped, or fails in CI."""
    if not available():
        message = "Apache Kafka needs Java and Maven, and one of them is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    JARS.mkdir(parents=True, exist_ok=True)
    with (JARS / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of the processes side by side fetches them
        fetch_jars(JARS, JARS.parent / "fetch.log")
        if not CLASSES.is_file():
            _archive_classes()
    if (option := f" -XX:SharedArchiveFile={CLASSES}") not in os.environ[JAVA_OPTIONS]:
        os.environ[JAVA_OPTIONS] += option
    return JARS


def _archive_classes() -> None:
    """Start a node once so that Java archives the classes it loads: later starts take half of it.

    Java ignores an archive that does not belong to it or to the jars.
    """
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv(JAVA_OPTIONS, f"{os.environ[JAVA_OPTIONS]} -XX:ArchiveClassesAtExit={CLASSES}")
        with KafkaCluster(Path(folder), jars=JARS):
            pass


@pytest.fixture(scope="package")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Apache Kafka in KRaft mode: one node, plain text."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka"), jars=kafka_jars) as running:
        yield running


@pytest.fixture(params=["at-least-once", "exactly-once"])
def worker_settings(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings of each delivery guarantee, without a model: every readable request passes."""
    none = str(tmp_path / "none")
    return settings.override({"model.artifact": none, "worker.guarantee": request.param})
