"""The fixture `broker`, but Apache Kafka instead of the embedded broker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.kafka_jars import available

VAR = Path(__file__).parents[2] / "var" / "kafka"


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """Folder of Kafka's jars; without Java or Maven, the test is skipped, or fails in CI."""
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
