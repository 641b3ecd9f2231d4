"""Why no connection comes about, in one sentence that names the setting to mend.

Kafka's client logs the reason and raises "unable to bootstrap". This connects to each bootstrap
server as the client does, logs in, asks for the cluster's nodes, and keeps what went wrong.
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

#: To connect, log in and answer one question.
CONNECT_S: Final = 10.0
_HUNG_UP: Final = (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError)


class ConnectionFaultError(UserError, RuntimeError):
    """No broker can be used; the message says why and what to do.

    Attributes:
        passing: Whether it may go away by itself: a broker that is down, a network.
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Server:
    """A server that answered.

    Attributes:
        address: ``HOST:PORT``.
        nodes: Addresses at which the brokers want to be reached, by node id.
        versions: Lowest and highest version of each request that it knows, by API key.
        seconds: How long connecting took.
    """

    address: str
    nodes: dict[int, str]
    versions: dict[int, tuple[int, int]]
    seconds: float


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection of aiokafka that notices a refused OAuth token."""

    def authenticator_oauth(self) -> Authenticator:
        """The authenticator of a login with a token."""
        return Authenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


async def reach(kafka: KafkaSettings) -> Server:
    """The first bootstrap server that can be used; all are tried at once.

    Raises:
        ConnectionFaultError: If none can; the fault that waiting does not mend comes first.
        SettingsError: As :func:`stream.kafka.client.client_options`.
    """
    options = client_options(kafka)
    tries = [asyncio.create_task(try_server(kafka, each, options)) for each in kafka.servers]
    faults: list[ConnectionFaultError] = []
    try:
        for one in asyncio.as_completed(tries):
            try:
                return await one
            except ConnectionFaultError as fault:
                faults.append(fault)
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    raise min(faults, key=lambda fault: fault.passing)


async def try_server(
    kafka: KafkaSettings, address: str, options: dict[str, Any] | None = None
) -> Server:
    """Connect to one server, log in, and ask for the nodes.

    Args:
        kafka: How.
        address: ``HOST:PORT``.
        options: Of an aiokafka client, where they are at hand.

    Raises:
        ConnectionFaultError: If that fails.
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
        if await _wants_tls(kafka, host, port, error):
            fault = ConnectionFaultError(f"{address}: {_tls_wanted(kafka)}", passing=False)
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
    """What an error of a connection means for the settings."""
    chain = list(causes(error))
    shaking_hands = not isinstance(error, KafkaConnectionError)  # that one comes of a first request
    if kafka.security_protocol.endswith("SSL") and shaking_hands and any(map(_no_tls, chain)):
        plain = "SASL_PLAINTEXT" if kafka.security_protocol.startswith("SASL") else "PLAINTEXT"
        return ConnectionFaultError(
            f"{address}: no TLS is spoken there; should kafka.security_protocol be {plain}?",
            passing=False,
        )
    for explain in (_login_refused, _certificate_refused, _broker_alert, _hung_up, _away):
        for cause in chain:
            if (found := explain(kafka, cause)) is not None:
                reason, passing = found
                return ConnectionFaultError(f"{address}: {reason}", passing=passing)
    return ConnectionFaultError(
        f"{address}: no connection as {kafka.security_protocol}: {chain[-1]!r}; check "
        "kafka.bootstrap and kafka.security_protocol",
        passing=True,
    )


Found = tuple[str, bool] | None
_Explain = Callable[[KafkaSettings, BaseException], Found]


def _login_refused(kafka: KafkaSettings, error: BaseException) -> Found:
    mechanism = kafka.sasl_mechanism
    if isinstance(error, TokenError):
        return str(error), False
    if isinstance(error, SaslAuthenticationFailed):
        mend = "kafka.sasl_username and kafka.sasl_password"
        if mechanism == "OAUTHBEARER":
            mend = "the token and what the brokers ask of it"
        told = str(error.args[0]) if error.args else ""
        return f"{principal(kafka)} may not log in with {mechanism} ({told}); check {mend}", False
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"the broker does not offer {mechanism}; choose another kafka.sasl_mechanism", False
    if isinstance(error, IllegalSaslStateError):
        plain = kafka.security_protocol.removeprefix("SASL_")
        return f"the broker asks for no login; kafka.security_protocol should be {plain}", False
    return None


def _certificate_refused(kafka: KafkaSettings, error: BaseException) -> Found:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    authority = kafka.ssl_cafile or "the system's authorities"
    reasons = {
        10: "the broker's certificate has expired; have it renewed",
        9: "the broker's certificate is not valid yet; check the clocks",
        62: "the broker's certificate is not for this host; check kafka.bootstrap",
        64: "the broker's certificate is not for this address; check kafka.bootstrap",
    }
    unknown = (
        f"the broker's certificate is not signed by {authority}; check kafka.ssl_cafile "
        f"({error.verify_message})"
    )
    return reasons.get(error.verify_code, unknown), False


def _broker_alert(kafka: KafkaSettings, error: BaseException) -> Found:
    """What the broker has against the client's certificate."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" not in reason:
        return None
    if "CERTIFICATE_REQUIRED" in reason or not kafka.ssl_certfile:
        return (
            f"the broker asks for a client certificate ({reason}); set kafka.ssl_certfile and "
            "kafka.ssl_keyfile",
            False,
        )
    if any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA")):
        return (
            f"the broker does not accept kafka.ssl_certfile {kafka.ssl_certfile!r} ({reason}); is "
            "it expired, or not signed by an authority that the broker trusts?",
            False,
        )
    return f"the broker ends the TLS handshake: {reason}; check kafka.security_protocol", False


def _hung_up(kafka: KafkaSettings, error: BaseException) -> Found:
    if isinstance(error, _HUNG_UP):
        return (
            f"the broker hung up on {kafka.security_protocol}; does it ask for a login "
            "(kafka.security_protocol SASL_...), or is it no Kafka broker?",
            True,
        )
    return None


async def _wants_tls(kafka: KafkaSettings, host: str, port: int, error: BaseException) -> bool:
    """Whether a server that hung up on plain text shakes hands for TLS; nothing is sent then."""
    hung_up = any(isinstance(cause, _HUNG_UP) for cause in causes(error))
    if kafka.security_protocol.endswith("SSL") or not hung_up:
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


def _tls_wanted(kafka: KafkaSettings) -> str:
    secured = "SASL_SSL" if kafka.security_protocol.startswith("SASL") else "SSL"
    return f"TLS is spoken there; should kafka.security_protocol be {secured}?"


def _no_tls(error: BaseException) -> bool:
    """A handshake that the other side answers with something else, or by hanging up."""
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        return any(w in reason for w in ("WRONG_VERSION", "RECORD_LAYER", "UNEXPECTED_EOF"))
    return isinstance(error, _HUNG_UP)


def _away(kafka: KafkaSettings, error: BaseException) -> Found:
    start = "check kafka.bootstrap, or start one (`weir broker` runs one on this machine)"
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror}); check kafka.bootstrap", True
    if isinstance(error, TimeoutError):
        tls = " (nor whether it speaks TLS)" if kafka.security_protocol.endswith("SSL") else ""
        return f"no broker answers within {CONNECT_S:g} s{tls}; {start}", True
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"no broker answers (connection refused); {start}", True
    if isinstance(error, OSError):
        return f"no broker answers ({error.strerror or error}); {start}", True
    if isinstance(error, KafkaConnectionError) and error.__cause__ is None:
        return f"the connection broke ({error}); {start}", True
    return None
