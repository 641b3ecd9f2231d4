"""How the listener of a local Kafka cluster is secured: a throwaway authority, user and password.

Everything is made anew at each start and lies in the cluster's folder, which only its owner reads.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from models.settings import KafkaSettings
from stream.broker_process import BrokerError

MECHANISM: Final = "SCRAM-SHA-512"
USER: Final = "weir"
_PASSWORD_VARIABLE: Final = "WEIR_KEYSTORE_PASSWORD"  # noqa: S105 - the variable's name
_FAST: Final = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")
_KEYTOOL_S: Final = 60.0

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class Security(StrEnum):
    """Variants of the listener for clients; nodes among themselves speak plain text."""

    PLAINTEXT = "plaintext"
    SASL = "sasl"
    TLS = "tls"
    SASL_TLS = "sasl-tls"

    @property
    def protocol(self) -> Protocol:
        """Kafka's name for it."""
        names: dict[Security, Protocol] = {
            Security.PLAINTEXT: "PLAINTEXT",
            Security.SASL: "SASL_PLAINTEXT",
            Security.TLS: "SSL",
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
        return self in {Security.TLS, Security.SASL_TLS}


@dataclass(frozen=True)
class Secured:
    """What was made for one start of a cluster.

    Attributes:
        client: What a client needs besides the addresses.
        server: Settings of every node.
        format_arguments: For Kafka's storage tool, which writes the user into the metadata.
    """

    client: KafkaSettings
    server: Mapping[str, str]
    format_arguments: tuple[str, ...]


def secure(security: Security, folder: Path) -> Secured:
    """Make user, password and certificates for ``security``; files go into ``folder``.

    Raises:
        BrokerError: If Java's keytool is missing or fails.
    """
    client: dict[str, str] = {"security_protocol": security.protocol}
    server: dict[str, str] = {}
    format_arguments: tuple[str, ...] = ()
    if security.sasl:
        password = secrets.token_urlsafe(24)
        client |= {
            "sasl_mechanism": MECHANISM,
            "sasl_username": USER,
            "sasl_password": password,
        }
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        server |= {
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.client.{MECHANISM.lower()}.sasl.jaas.config": login,
        }
        format_arguments = ("--add-scram", f"{MECHANISM}=[name={USER},password={password}]")
    if security.tls:
        store, authority, password = _certificates(folder)
        client["ssl_cafile"] = str(authority)
        server |= {
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(store),
            "ssl.keystore.password": password,
        }
    return Secured(KafkaSettings.model_validate(client), server, format_arguments)


def _certificates(folder: Path) -> tuple[Path, Path, str]:
    """A key store with a server certificate for the loopback, its authority (PEM), its password.

    The authority's own key is thrown away.
    """
    store, authority = folder / "server.p12", folder / "ca.pem"
    password = secrets.token_urlsafe(24)
    key = ("-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30")
    steps = (
        ("-genkeypair", "-alias", "ca", "-dname", "CN=Weir local authority", "-ext", "bc:c", *key),
        ("-genkeypair", "-alias", "server", "-dname", "CN=localhost", "-signer", "ca", *key,
         "-ext", "san=ip:127.0.0.1,dns:localhost"),
        ("-exportcert", "-alias", "ca", "-rfc", "-file", str(authority)),
        ("-delete", "-alias", "ca"),
    )  # fmt: skip
    for step in steps:
        _keytool(*step, "-keystore", str(store), "-storetype", "PKCS12", password=password)
    return store, authority, password


def _keytool(*arguments: str, password: str) -> None:
    program = shutil.which("keytool")
    if program is None:
        raise BrokerError("keytool is not installed; it comes with Java 17 or newer")
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [program, *_FAST, *arguments, "-storepass:env", _PASSWORD_VARIABLE],
        env={**os.environ, _PASSWORD_VARIABLE: password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_KEYTOOL_S,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise BrokerError(f"keytool {arguments[0]} ended with status {done.returncode}: {said}")
