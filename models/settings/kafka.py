"""``[kafka]``: the brokers, the consumer group, and how clients authenticate."""

from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from models import bounds
from models.settings.section import REVEAL, GroupName, Secret, Section


class KafkaSettings(Section):
    """Connection to the Kafka cluster, and limits on what is read from it.

    Attributes:
        bootstrap: Bootstrap servers, ``HOST:PORT``, several separated by commas.
        group: Name of the workers' consumer group; its committed offsets mark what is processed.
        security_protocol: Whether connections are encrypted (SSL) and authenticated (SASL).
        sasl_mechanism: SASL mechanism of the authentication.
        sasl_username: User name for PLAIN and SCRAM.
        sasl_password: Password for PLAIN and SCRAM.
        oauth_token_command: For OAUTHBEARER: a program with its arguments, split as a shell would;
            it prints a token.
        oauth_token_provider: For OAUTHBEARER, instead of a command: ``module:function`` of a
            function or coroutine function that returns a token.
        ssl_cafile: PEM file of the trusted certificate authorities; empty for the system's.
        ssl_certfile: PEM file of the client's certificate chain (mTLS).
        ssl_keyfile: PEM file of the client's private key; empty if ``ssl_certfile`` contains it.
        ssl_key_password: Password of the private key.
        session_timeout_s: Seconds without a heartbeat after which a worker is considered dead.
        partitions: Partitions of the request topic when `weir topics` creates it.
        replication: Replication factor of the topics that `weir topics` creates.
        max_unpacked_bytes: Maximum decompressed size of a record batch. A larger batch is skipped;
            one of requests goes to the dead-letter topic.
    """

    bootstrap: str = "127.0.0.1:9092"
    group: GroupName = "weir"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = (
        "SCRAM-SHA-512"
    )
    sasl_username: str = ""
    sasl_password: Secret = SecretStr("")
    oauth_token_command: str = ""
    oauth_token_provider: str = ""
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_key_password: Secret = SecretStr("")
    session_timeout_s: float = Field(default=30.0, ge=1)
    partitions: int = Field(default=4, ge=1)
    replication: int = Field(default=1, ge=1)
    max_unpacked_bytes: int = Field(
        default=bounds.MAX_UNPACKED_BYTES, ge=1_048_576, le=1_073_741_824
    )

    @field_validator("bootstrap")
    @classmethod
    def _check_addresses(cls, text: str) -> str:
        for server in text.split(","):
            _check_address(server.strip())
        return text

    def revealed(self) -> dict[str, Any]:
        """The keys that were set, secrets included, as plain values; never for a log."""
        return self.model_dump(mode="json", exclude_unset=True, context=REVEAL)

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers, each as ``HOST:PORT``."""
        return [server.strip() for server in self.bootstrap.split(",")]

    @property
    def secrets(self) -> list[str]:
        """The secrets that are set; no log may show them."""
        return [s.get_secret_value() for s in (self.sasl_password, self.ssl_key_password) if s]


def _check_address(server: str) -> None:
    host, colon, port = server.rpartition(":")
    wanted = "write HOST:PORT[,HOST:PORT...], such as kafka-1:9092"
    if not colon or not host or "/" in host or any(map(str.isspace, host)):
        raise ValueError(f"kafka.bootstrap: {server!r} is not HOST:PORT; {wanted}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(
            f"kafka.bootstrap: {server!r}: put an IPv6 address into brackets; {wanted}"
        )
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
        raise ValueError(
            f"kafka.bootstrap: {server!r}: {port!r} is not a port (1 to 65535); {wanted}"
        )
