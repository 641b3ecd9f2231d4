"""How Weir's Kafka clients connect: options from the settings, consumers, partitions of topics."""

import ssl
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.metadata import MetadataRequest

from models.settings import KafkaSettings, SettingsError
from stream.kafka.admin import admin_request
from stream.kafka.batches import BoundedConsumer, RefusedBatch
from stream.kafka.oauth import token_provider


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Options of an aiokafka client: bootstrap servers and security.

    Raises:
        SettingsError: If the security protocol needs a setting that is missing, or a file that
            cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options |= _sasl_options(kafka)
    return options


def principal(kafka: KafkaSettings) -> str:
    """The Kafka principal of a client with these settings, if they determine it."""
    if kafka.security_protocol.startswith("SASL"):
        if kafka.sasl_mechanism == "OAUTHBEARER":
            return "the subject of the token"
        return f"User:{kafka.sasl_username}"
    if kafka.security_protocol == "SSL" and kafka.ssl_certfile:
        return f"the subject of {kafka.ssl_certfile}"
    return "User:ANONYMOUS"


def _sasl_options(kafka: KafkaSettings) -> dict[str, Any]:
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_oauth_token_provider": token_provider(kafka),
        }
    if not kafka.sasl_username:
        raise SettingsError(
            f"kafka.sasl_username: empty; {kafka.security_protocol} needs a user name"
        )
    return {
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value(),
    }


def bounded_consumer(
    kafka: KafkaSettings,
    refused: Callable[[RefusedBatch], None] | None = None,
    *,
    keep: bool = False,
    **options: Any,
) -> BoundedConsumer:
    """A consumer that skips batches that cannot be read; see :mod:`stream.kafka.batches`.

    It has no consumer group unless ``options`` name one, and commits only on request.

    Args:
        kafka: Connection settings, and the bound on an unpacked batch.
        refused: Called with every batch that is skipped; without it, they are logged.
        keep: Whether a refused batch is returned among the records, in its place.
        options: More options of aiokafka's consumer.

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
    """The partitions of each topic, in order; an empty list for a topic that does not exist.

    A consumer without a group has metadata only of the topics that it is assigned to, so this is a
    request of its own.

    Raises:
        SettingsError: As :func:`client_options`.
        TopicAuthorizationFailedError: If the client has no right to describe a topic.
        KafkaError: If no broker answers.
    """

    async def describe(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        answer = await admin._send_request(request)  # noqa: SLF001 - describe_topics() creates them
        described: list[dict[str, Any]] = answer.to_object()["topics"]
        return described

    found: dict[str, list[TopicPartition]] = {topic: [] for topic in topics}
    for topic in await admin_request(client_options(kafka), describe):
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic["topic"])
        if topic["error_code"] == 0:
            numbers = sorted(partition["partition"] for partition in topic["partitions"])
            found[topic["topic"]] = [TopicPartition(topic["topic"], n) for n in numbers]
    return found


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """The TLS context of a client.

    It trusts ``kafka.ssl_cafile``, or the system's certificate authorities, and authenticates the
    client with ``kafka.ssl_certfile`` where that is set.

    Raises:
        SettingsError: If a file cannot be read, or does not contain what the setting requires.
    """
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.ssl_cafile: {kafka.ssl_cafile!r} is not a readable PEM file: {error}"
        ) from error
    if kafka.ssl_certfile:
        _load_certificate(context, kafka)
    elif kafka.ssl_keyfile:
        raise SettingsError("kafka.ssl_keyfile: set without kafka.ssl_certfile; set both")
    return context


def _load_certificate(context: ssl.SSLContext, kafka: KafkaSettings) -> None:
    files = f"{kafka.ssl_certfile!r} and {kafka.ssl_keyfile or kafka.ssl_certfile!r}"
    password = kafka.ssl_key_password.get_secret_value()
    try:
        # Without a password callback, OpenSSL would prompt for one on the terminal.
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile or None, lambda: password)
    except ssl.SSLError as error:
        reason = "the certificate does not belong to the key" if "MISMATCH" in str(error) else error
        raise SettingsError(
            f"kafka.ssl_certfile, kafka.ssl_keyfile: {files} are not a PEM certificate and its "
            f"private key, or kafka.ssl_key_password does not open it: {reason}"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"kafka.ssl_certfile, kafka.ssl_keyfile: {files} cannot be read: {error}"
        ) from error
