"""How Weir's Kafka clients connect, and how they ask the brokers about topics and groups."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.batches import BoundedConsumer, RefusedBatch
from models.settings import KafkaSettings, SettingsError

T = TypeVar("T")
#: Between two askings; together long enough for the others to give a node up, and for a broker's
#: first group to get a coordinator.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)


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


def bounded_consumer(
    kafka: KafkaSettings,
    refused: Callable[[RefusedBatch], None] | None = None,
    *,
    keep: bool = False,
    **options: Any,
) -> BoundedConsumer:
    """A consumer in no group that no batch can stop; see :class:`models.batches.BoundedConsumer`.

    Args:
        kafka: Brokers, and the bound on a batch.
        refused: Told of every batch that is refused; without it, they are logged.
        keep: Whether it hands refused batches over in their place.
        options: Of aiokafka's consumer.

    Raises:
        SettingsError: As :func:`client_options`.
    """
    return BoundedConsumer(
        **client_options(kafka),
        enable_auto_commit=False,
        max_unpacked_bytes=kafka.max_unpacked_bytes,
        refused=refused,
        keep=keep,
        **options,
    )


async def topic_partitions(kafka: KafkaSettings, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of each topic, in order; none of one that is not there.

    A consumer without a group knows nothing of topics that it has not asked for, so this asks.

    Raises:
        SettingsError: As :func:`client_options`.
        KafkaError: If no broker answers.
    """

    async def question(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = await admin.describe_topics()
        return described

    found = {
        topic["topic"]: sorted(partition["partition"] for partition in topic["partitions"])
        for topic in await ask(client_options(kafka), question)
        if topic["error_code"] == 0
    }
    return {
        topic: [TopicPartition(topic, number) for number in found.get(topic, ())]
        for topic in topics
    }


async def ask(
    options: Mapping[str, Any], question: Callable[[AIOKafkaAdminClient], Awaitable[T]]
) -> T:
    """Ask the brokers, again while the one that is asked is away.

    aiokafka's admin client asks a node at random and does not try another one.

    Args:
        options: Of an aiokafka client.
        question: What is asked; may be asked several times.

    Raises:
        KafkaError: If none answers, or the answer is an error that no repetition mends.
    """
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        return await patiently(question, admin)
    finally:
        await admin.close()


async def patiently(
    question: Callable[[AIOKafkaAdminClient], Awaitable[T]], admin: AIOKafkaAdminClient
) -> T:
    """As :func:`ask`, of a client that is started."""
    for pause_s in PAUSES_S:
        try:
            return await question(admin)
        except KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(pause_s)
    return await question(admin)


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
