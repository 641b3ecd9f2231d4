"""Secures the client listener of a local Kafka cluster: certificates, users, passwords, ACLs.

All of it is created anew at each start, in the cluster's folder, which only its owner can read.
"""

import base64
import json
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from models.settings import KafkaSettings
from stream.brokers.certificates import Authority

USER: Final = "weir"

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class Security(StrEnum):
    """Security of the client listener; the nodes' own listener is plain text."""

    PLAINTEXT = "plaintext"
    SASL = "sasl"
    TLS = "tls"
    MTLS = "mtls"
    SASL_TLS = "sasl-tls"

    @property
    def protocol(self) -> Protocol:
        """Kafka's name of the security protocol."""
        names: dict[Security, Protocol] = {
            Security.PLAINTEXT: "PLAINTEXT",
            Security.SASL: "SASL_PLAINTEXT",
            Security.TLS: "SSL",
            Security.MTLS: "SSL",
            Security.SASL_TLS: "SASL_SSL",
        }
        return names[self]

    @property
    def sasl(self) -> bool:
        """Whether clients log in."""
        return self in {Security.SASL, Security.SASL_TLS}

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self in {Security.TLS, Security.MTLS, Security.SASL_TLS}


class Mechanism(StrEnum):
    """SASL mechanism, where the listener requires a login."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True)
class Secured:
    """The security of one start of a cluster.

    Attributes:
        clients: Client settings besides the addresses, by user; ``weir`` is the superuser.
        server: Configuration of every node.
        format_arguments: Arguments of Kafka's storage tool, which creates the users.
        authority: The certificate authority; None without TLS.
    """

    clients: Mapping[str, KafkaSettings]
    server: Mapping[str, str]
    format_arguments: tuple[str, ...]
    authority: Authority | None


def secure(
    security: Security,
    folder: Path,
    mechanism: Mechanism = Mechanism.SCRAM_SHA_512,
    *,
    users: Sequence[str] = (),
    acls: bool = False,
) -> Secured:
    """Create users, passwords and certificates.

    Args:
        security: Security of the client listener.
        folder: Folder for the files; only its owner should be able to read it.
        mechanism: SASL mechanism, if there is a login. The tokens of OAUTHBEARER are not signed:
            the nodes believe any client that reaches the port.
        users: Users besides ``weir``.
        acls: Whether users other than ``weir`` need ACLs.

    Raises:
        BrokerError: If OpenSSL is needed and missing, or fails.
    """
    passwords = {user: secrets.token_urlsafe(24) for user in (USER, *users)}
    clients: dict[str, dict[str, Any]] = {
        user: {"security_protocol": security.protocol} for user in passwords
    }
    server: dict[str, str] = {}
    authority = None
    if security.sasl:
        server |= _login(mechanism, passwords)
        for user, password in passwords.items():
            clients[user] |= _credentials(mechanism, user, password)
    if security.tls:
        authority = Authority(folder)
        server |= _key_store(authority, folder)
        for client in clients.values():
            client["ssl_cafile"] = str(authority.certificate)
    if security is Security.MTLS and authority is not None:
        server |= {
            "ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        }
        for user, client in clients.items():
            certificate, key = authority.sign(user)
            client |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    if acls:
        server |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # clients of the nodes' own listener are ANONYMOUS
            "super.users": f"User:ANONYMOUS;User:{USER}",
        }
    return Secured(
        {user: KafkaSettings.model_validate(client) for user, client in clients.items()},
        server,
        _scram(mechanism, passwords) if security.sasl else (),
        authority,
    )


def unsigned_token(subject: str, issued_s: int, expires_s: int) -> str:
    """An unsigned token for OAUTHBEARER, which Kafka's default validator accepts (RFC 7515)."""
    parts = ({"alg": "none"}, {"sub": subject, "iat": issued_s, "exp": expires_s})
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join([*(part.decode().rstrip("=") for part in coded), ""])


def _credentials(mechanism: Mechanism, user: str, password: str) -> dict[str, str]:
    if mechanism is Mechanism.OAUTHBEARER:
        program = (
            "import time; from stream.brokers.security import unsigned_token as token; "
            f"now = int(time.time()); print(token('{user}', now, now + 3600))"
        )
        return {
            "sasl_mechanism": mechanism.value,
            "oauth_token_command": shlex.join([sys.executable, "-P", "-c", program]),
        }
    return {
        "sasl_mechanism": mechanism.value,
        "sasl_username": user,
        "sasl_password": password,
    }


def _login(mechanism: Mechanism, passwords: Mapping[str, str]) -> dict[str, str]:
    """Configuration of a mechanism on the nodes."""
    package = "org.apache.kafka.common.security"
    modules = {
        Mechanism.PLAIN: f"{package}.plain.PlainLoginModule required "
        + " ".join(f'user_{user}="{password}"' for user, password in passwords.items()),
        Mechanism.OAUTHBEARER: f"{package}.oauthbearer.OAuthBearerLoginModule required "
        f'unsecuredLoginStringClaim_sub="{USER}"',
    }
    scram = f"{package}.scram.ScramLoginModule required"
    prefix = f"listener.name.client.{mechanism.lower()}.sasl"
    return {
        "sasl.enabled.mechanisms": mechanism.value,
        f"{prefix}.jaas.config": f"{modules.get(mechanism, scram)};",
    }


def _scram(mechanism: Mechanism, passwords: Mapping[str, str]) -> tuple[str, ...]:
    if not mechanism.startswith("SCRAM"):
        return ()
    return tuple(
        argument
        for user, password in passwords.items()
        for argument in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
    )


def _key_store(authority: Authority, folder: Path) -> dict[str, str]:
    """Configuration of the nodes' certificate, which Kafka reads with its key from one file."""
    certificate, key = authority.sign("localhost")
    store = folder / "server.pem"
    store.write_text(key.read_text() + certificate.read_text())
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(store)}
