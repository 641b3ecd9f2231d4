"""How Weir's Kafka clients connect, and how they ask the brokers about topics and groups."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.metadata import MetadataRequest

from models.settings import KafkaSettings, SettingsError
from stream.kafka.batches import BoundedConsumer, RefusedBatch
from stream.kafka.oauth import token_provider

T = TypeVar("T")
#: Between two askings; together long enough for the others to give a node up, and for a broker's
#: first group to get a coordinator.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Options of an aiokafka client: bootstrap servers and security.

    Raises:
        SettingsError: If what the way to log in needs is missing, or a file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options |= _login(kafka)
    return options


def principal(kafka: KafkaSettings) -> str:
    """Who a client with these settings is to the brokers, for messages."""
    if kafka.security_protocol.startswith("SASL"):
        if kafka.sasl_mechanism == "OAUTHBEARER":
            return "the subject of the token"
        return f"User:{kafka.sasl_username}"
    if kafka.security_protocol == "SSL" and kafka.ssl_certfile:
        return f"the subject of {kafka.ssl_certfile}"
    return "User:ANONYMOUS"


def _login(kafka: KafkaSettings) -> dict[str, Any]:
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
    """A consumer in no group that no batch can stop; see :mod:`stream.kafka.batches`.

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
        TopicAuthorizationFailedError: If the client may not even look at one.
        KafkaError: If no broker answers.
    """

    async def question(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        answer = await admin._send_request(request)  # noqa: SLF001 - describe_topics() creates them
        told: list[dict[str, Any]] = answer.to_object()["topics"]
        return told

    found: dict[str, list[TopicPartition]] = {topic: [] for topic in topics}
    for topic in await ask(client_options(kafka), question):
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(topic["topic"])
        if topic["error_code"] == 0:
            numbers = sorted(partition["partition"] for partition in topic["partitions"])
            found[topic["topic"]] = [TopicPartition(topic["topic"], n) for n in numbers]
    return found


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
    """Trust ``kafka.ssl_cafile``, or the system's authorities; show ``kafka.ssl_certfile``.

    Raises:
        SettingsError: If a file cannot be read, or does not hold what it should.
    """
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.ssl_cafile: {kafka.ssl_cafile!r} is not a readable PEM file: {error}"
        ) from error
    if kafka.ssl_certfile:
        _show_certificate(context, kafka)
    elif kafka.ssl_keyfile:
        raise SettingsError("kafka.ssl_keyfile: needs kafka.ssl_certfile, its certificate")
    return context


def _show_certificate(context: ssl.SSLContext, kafka: KafkaSettings) -> None:
    files = f"{kafka.ssl_certfile!r} and {kafka.ssl_keyfile or kafka.ssl_certfile!r}"
    password = kafka.ssl_key_password.get_secret_value()
    try:
        # OpenSSL would ask the terminal for a password that is not given.
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile or None, lambda: password)
    except ssl.SSLError as error:
        reason = "the certificate is not that of the key" if "MISMATCH" in str(error) else error
        raise SettingsError(
            f"kafka.ssl_certfile, kafka.ssl_keyfile: {files} are not a PEM certificate and its "
            f"private key, or kafka.ssl_key_password does not open it: {reason}"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"kafka.ssl_certfile, kafka.ssl_keyfile: {files} cannot be read: {error}"
        ) from error
