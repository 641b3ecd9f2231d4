"""How Weir's Kafka clients connect: one function for producers, consumers and admin clients."""

import ssl
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from models.settings import KafkaSettings, SettingsError


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Options of an aiokafka client: bootstrap servers and security.

    Raises:
        SettingsError: If SASL is asked for without a user name, or ``ssl_cafile`` cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap.split(",")],
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        if not kafka.sasl_username:
            raise SettingsError(
                f"kafka.sasl_username: empty; {kafka.security_protocol} needs a user name"
            )
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password,
        }
    return options


async def topic_partitions(kafka: KafkaSettings, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of each topic, in order; none of one that is not there.

    A consumer without a group knows nothing of topics that it has not asked for, so this asks.

    Raises:
        SettingsError: As :func:`client_options`.
        KafkaError: If no broker answers.
    """
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        found = {
            topic["topic"]: sorted(partition["partition"] for partition in topic["partitions"])
            for topic in await admin.describe_topics()
            if topic["error_code"] == 0
        }
    finally:
        await admin.close()
    return {
        topic: [TopicPartition(topic, number) for number in found.get(topic, ())]
        for topic in topics
    }


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Trust ``kafka.ssl_cafile``, or the system's authorities where none is given.

    Raises:
        SettingsError: If the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=kafka.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.ssl_cafile: {kafka.ssl_cafile!r} is not a readable PEM file: {error}"
        ) from error
