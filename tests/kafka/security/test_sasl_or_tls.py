"""A worker on Apache Kafka with each SASL mechanism, with TLS, and with client certificates."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.brokers.kafka_cluster import KafkaCluster
from tests.stream.intercept.test_worker import (  # noqa: F401
    test_filters_without_torch_and_stops_when_asked,
    tiny_settings,
)

pytestmark = pytest.mark.kafka

SECURED = {
    "plain": {"security": "sasl", "mechanism": "PLAIN"},
    "scram-256": {"security": "sasl", "mechanism": "SCRAM-SHA-256"},
    "scram-512": {"security": "sasl"},
    "oauthbearer": {"security": "sasl-tls", "mechanism": "OAUTHBEARER"},
    "tls": {"security": "tls"},
    "mtls": {"security": "mtls"},
}


@pytest.fixture(scope="module", params=SECURED)
def broker(
    request: pytest.FixtureRequest, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    """One node; shadows the fixture in plain text."""
    folder = tmp_path_factory.mktemp(request.param)
    with KafkaCluster(folder, **SECURED[request.param], jars=kafka_jars) as running:
        yield running
