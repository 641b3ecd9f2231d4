"""The same `broker` fixture as everywhere, but Apache Kafka: what is proved on it is proved."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.kafka_jars import available

VAR = Path(__file__).parents[2] / "var" / "kafka"


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Where Kafka's jars are kept; without Java or Maven, the end of the test."""
    if not available():
        message = "Apache Kafka needs Java and Maven, and one of them is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return VAR / "jars"


@pytest.fixture(scope="session")
def broker(kafka_jars: Path) -> Iterator[KafkaCluster]:
    """Apache Kafka in KRaft mode: one node, plain text."""
    with KafkaCluster(VAR, jars=kafka_jars) as running:
        yield running


@pytest.fixture(params=["at-least-once", "exactly-once"])
def worker_settings(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings of each delivery guarantee, without a model: every readable request passes."""
    none = str(tmp_path / "none")
    return settings.override({"model.artifact": none, "worker.guarantee": request.param})
