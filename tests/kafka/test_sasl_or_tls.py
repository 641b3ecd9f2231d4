"""A worker on a Kafka that asks for a login, and on one that encrypts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.kafka_cluster import KafkaCluster
from tests.stream.test_worker import (  # noqa: F401
    test_filters_without_torch_and_stops_when_asked,
    tiny_settings,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module", params=["sasl", "tls"])
def broker(
    request: pytest.FixtureRequest, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    """One node; shadows the plain one."""
    folder = tmp_path_factory.mktemp(request.param)
    with KafkaCluster(folder, security=request.param, jars=kafka_jars) as running:
        yield running
