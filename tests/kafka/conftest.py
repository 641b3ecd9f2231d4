"""The same `broker` fixture as everywhere, but Apache Kafka: what is proved on it is proved."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.kafka_broker import KafkaBroker, available


@pytest.fixture(scope="session")
def broker() -> Iterator[KafkaBroker]:
    """Apache Kafka in KRaft mode; its jars stay in var/kafka."""
    if not available():
        message = "Apache Kafka needs Java and Maven, and one of them is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with KafkaBroker(Path(__file__).parents[2] / "var" / "kafka") as running:
        yield running
