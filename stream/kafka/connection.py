"""Why the client cannot connect, in one sentence that names the setting to correct.

Kafka's client logs the reason and raises "unable to bootstrap". This connects to each bootstrap
server as the client does, logs in, requests the cluster's metadata, and keeps the error.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, get_ip_port_afi
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from models.errors import UserError, causes
from models.settings import KafkaSettings
from stream.kafka.client import client_options, principal
from stream.kafka.oauth import Authenticator, TokenError

#: Limit for connecting, logging in and one request.
CONNECT_S: Final = 10.0
_CLOSED: Final = (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError)


class ConnectionFaultError(UserError, RuntimeError):
    """No broker can be used; the message has the reason and the fix.

    Attributes:
        transient: Whether waiting may help (a broker that is down, a network fault), or the
            settings have to change.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class Server:
    """A bootstrap server that answered.

    Attributes:
        address: ``HOST:PORT``.
        nodes: Advertised addresses of all brokers, by node id.
        versions: Lowest and highest supported version of each request, by API key.
        seconds: Time to connect and get the metadata.
    """

    address: str
    nodes: dict[int, str]
    versions: dict[int, tuple[int, int]]
    seconds: float


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection of aiokafka that fails the login when the broker rejects an OAuth token."""

    def authenticator_oauth(self) -> Authenticator:
        """The authenticator of a login with a token."""
        return Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


async def reach(kafka: KafkaSettings) -> Server:
    """Connect to all bootstrap servers at once; returns the first that can be used.

    Raises:
        ConnectionFaultError: If none can; of several faults, one that is not transient.
        SettingsError: As :func:`stream.kafka.client.client_options`.
    """
    options = client_options(kafka)
    attempts = [asyncio.create_task(try_server(kafka, each, options)) for each in kafka.servers]
    faults: list[ConnectionFaultError] = []
    try:
        for one in asyncio.as_completed(attempts):
            try:
                return await one
            except ConnectionFaultError as fault:
                faults.append(fault)
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise min(faults, key=lambda fault: fault.transient)


async def try_server(
    kafka: KafkaSettings, address: str, options: dict[str, Any] | None = None
) -> Server:
    """Connect to one server, log in, and request the addresses of the brokers.

    Args:
        kafka: Connection settings.
        address: ``HOST:PORT``.
        options: The options of an aiokafka client, if the caller has them already.

    Raises:
        ConnectionFaultError: If one of these fails.
    """
    options = dict(options or client_options(kafka))
    del options["bootstrap_servers"]
    host, port, _ = get_ip_port_afi(address)
    clock = asyncio.get_running_loop().time
    start = clock()
    connection: Connection | None = None
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = Connection(host, port, request_timeout_ms=int(CONNECT_S * 1000), **options)
            await connection.connect()
            answer = await connection.send(MetadataRequest([]))
    except (OSError, KafkaError, TimeoutError, ValueError, AssertionError) as error:
        if await _expects_tls(kafka, host, port, error):
            fault = ConnectionFaultError(f"{address}: {_tls_expected(kafka)}", transient=False)
        else:
            fault = explain_connection(kafka, address, error)
        raise fault from error
    finally:
        if connection is not None:
            connection.close()
    nodes = {node[0]: f"{node[1]}:{node[2]}" for node in answer.brokers}
    return Server(address, nodes, connection._versions, clock() - start)  # noqa: SLF001


def explain_connection(
    kafka: KafkaSettings, address: str, error: BaseException
) -> ConnectionFaultError:
    """Explain an error of a connection in terms of the settings."""
    chain = list(causes(error))
    in_handshake = not isinstance(error, KafkaConnectionError)  # which the first request raises
    if kafka.security_protocol.endswith("SSL") and in_handshake and any(map(_no_tls, chain)):
        plain = "SASL_PLAINTEXT" if kafka.security_protocol.startswith("SASL") else "PLAINTEXT"
        return ConnectionFaultError(
            f"{address}: the server does not use TLS; should kafka.security_protocol be {plain}?",
            transient=False,
        )
    for explain in (
        _login_rejected,
        _server_certificate,
        _tls_alert,
        _connection_closed,
        _unreachable,
    ):
        for cause in chain:
            if (found := explain(kafka, cause)) is not None:
                reason, transient = found
                return ConnectionFaultError(f"{address}: {reason}", transient=transient)
    return ConnectionFaultError(
        f"{address}: cannot connect with {kafka.security_protocol}: {chain[-1]!r}; check "
        "kafka.bootstrap and kafka.security_protocol",
        transient=True,
    )


Found = tuple[str, bool] | None
_Explain = Callable[[KafkaSettings, BaseException], Found]


def _login_rejected(kafka: KafkaSettings, error: BaseException) -> Found:
    mechanism = kafka.sasl_mechanism
    if isinstance(error, TokenError):
        return str(error), False
    if isinstance(error, SaslAuthenticationFailed):
        fix = "kafka.sasl_username and kafka.sasl_password"
        if mechanism == "OAUTHBEARER":
            fix = "the token, and how the brokers validate it"
        reason = str(error.args[0]) if error.args else ""
        return f"{principal(kafka)} may not log in with {mechanism} ({reason}); check {fix}", False
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"the broker does not offer {mechanism}; choose another kafka.sasl_mechanism", False
    if isinstance(error, IllegalSaslStateError):
        plain = kafka.security_protocol.removeprefix("SASL_")
        return f"the broker does not use SASL; kafka.security_protocol should be {plain}", False
    return None


def _server_certificate(kafka: KafkaSettings, error: BaseException) -> Found:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    authority = kafka.ssl_cafile or "the system's certificate authorities"
    reasons = {
        10: "the broker's certificate has expired; have it renewed",
        9: "the broker's certificate is not valid yet; check the clocks of both machines",
        62: "the broker's certificate is not for this host; check kafka.bootstrap",
        64: "the broker's certificate is not for this address; check kafka.bootstrap",
    }
    unknown = (
        f"the broker's certificate is not signed by {authority}; check kafka.ssl_cafile "
        f"({error.verify_message})"
    )
    return reasons.get(error.verify_code, unknown), False


def _tls_alert(kafka: KafkaSettings, error: BaseException) -> Found:
    """The broker ended the handshake, most often because of the client's certificate."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" not in reason:
        return None
    if "CERTIFICATE_REQUIRED" in reason or not kafka.ssl_certfile:
        return (
            f"the broker requires a client certificate ({reason}); set kafka.ssl_certfile and "
            "kafka.ssl_keyfile",
            False,
        )
    if any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA")):
        return (
            f"the broker rejects kafka.ssl_certfile {kafka.ssl_certfile!r} ({reason}); has it "
            "expired, or is it not signed by an authority that the broker trusts?",
            False,
        )
    return f"the broker aborted the TLS handshake: {reason}; check kafka.security_protocol", False


def _connection_closed(kafka: KafkaSettings, error: BaseException) -> Found:
    if isinstance(error, _CLOSED):
        return (
            f"the server closed the {kafka.security_protocol} connection; does it require a login "
            "(kafka.security_protocol SASL_...), or is it not a Kafka broker?",
            True,
        )
    return None


async def _expects_tls(kafka: KafkaSettings, host: str, port: int, error: BaseException) -> bool:
    """Whether a server that closed a plain-text connection accepts a TLS handshake."""
    closed = any(isinstance(cause, _CLOSED) for cause in causes(error))
    if kafka.security_protocol.endswith("SSL") or not closed:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _tls_expected(kafka: KafkaSettings) -> str:
    secured = "SASL_SSL" if kafka.security_protocol.startswith("SASL") else "SSL"
    return f"the server expects TLS; should kafka.security_protocol be {secured}?"


def _no_tls(error: BaseException) -> bool:
    """Whether the other side answered the handshake with something else, or by closing."""
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        return any(w in reason for w in ("WRONG_VERSION", "RECORD_LAYER", "UNEXPECTED_EOF"))
    return isinstance(error, _CLOSED)


def _unreachable(kafka: KafkaSettings, error: BaseException) -> Found:
    start = "check kafka.bootstrap, or start a broker (`weir broker` runs one on this machine)"
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror}); check kafka.bootstrap", True
    if isinstance(error, TimeoutError):
        tls = " (nor a TLS handshake)" if kafka.security_protocol.endswith("SSL") else ""
        return f"no broker answers within {CONNECT_S:g} s{tls}; {start}", True
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"no broker answers (connection refused); {start}", True
    if isinstance(error, OSError):
        return f"no broker answers ({error.strerror or error}); {start}", True
    if isinstance(error, KafkaConnectionError) and error.__cause__ is None:
        return f"the connection broke ({error}); {start}", True
    return None
