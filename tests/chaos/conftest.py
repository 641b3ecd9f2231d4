"""Chaos needs Apache Kafka."""

from tests.kafka.conftest import kafka_jars  # noqa: F401
