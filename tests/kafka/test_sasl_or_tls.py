"""A worker on Kafka by every way in: each mechanism of SASL, TLS, and TLS with a certificate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.brokers.kafka_cluster import KafkaCluster
from tests.stream.intercept.test_worker import (  # noqa: F401
    test_filters_without_torch_and_stops_when_asked,
    tiny_settings,
)

pytestmark = pytest.mark.kafka

WAYS = {
    "plain": {"security": "sasl", "mechanism": "PLAIN"},
    "scram-256": {"security": "sasl", "mechanism": "SCRAM-SHA-256"},
    "scram-512": {"security": "sasl"},
    "oauthbearer": {"security": "sasl-tls", "mechanism": "OAUTHBEARER"},
    "tls": {"security": "tls"},
    "mtls": {"security": "mtls"},
}


@pytest.fixture(scope="module", params=WAYS)
def broker(
    request: pytest.FixtureRequest, kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    """One node; shadows the plain one."""
    folder = tmp_path_factory.mktemp(request.param)
    with KafkaCluster(folder, **WAYS[request.param], jars=kafka_jars) as running:
        yield running
