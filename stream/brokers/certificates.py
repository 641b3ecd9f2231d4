"""A certificate authority for a local Kafka cluster, created for each cluster with OpenSSL."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from stream.brokers.process import BrokerError

_EC: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_OPENSSL_S: Final = 60.0


class Authority:
    """A certificate authority that signs certificates for the loopback address.

    Args:
        folder: Folder for all keys and certificates; only its owner should be able to read it.
        name: File name of its own key and certificate, without the suffix.

    Attributes:
        certificate: Its own certificate, a PEM file.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        """Create its key and certificate.

        Raises:
            BrokerError: If OpenSSL is missing or fails.
        """
        self._folder = folder
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            "req", "-x509", *_EC, "-days", "30", "-subj", "/CN=Weir local authority",
            "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", str(self._key), "-out", str(self.certificate),
        )  # fmt: skip

    def sign(self, name: str, *, days: int = 30, password: str = "") -> tuple[Path, Path]:
        """Create a key and a signed certificate; returns certificate and key (PEM files).

        Args:
            name: Common name, and file name without the suffix.
            days: Days of validity; -1 for a certificate that expired yesterday.
            password: Password of the key; empty for a key without one.

        Raises:
            BrokerError: If OpenSSL is missing or fails.
        """
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request = self._folder / f"{name}.csr"
        _openssl(
            "req", *_EC, "-subj", f"/CN={name}",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", str(key), "-out", str(request),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", str(request), "-days", str(days), "-copy_extensions", "copy",
            "-CA", str(self.certificate), "-CAkey", str(self._key), "-out", str(certificate),
        )  # fmt: skip
        request.unlink()
        if password:
            open_key = key.rename(key.with_suffix(".open"))
            _openssl(
                "pkcs8", "-topk8", "-in", str(open_key), "-out", str(key), "-passout", "stdin",
                stdin=password,
            )  # fmt: skip
            open_key.unlink()
        return certificate, key


def _openssl(*arguments: str, stdin: str = "") -> None:
    program = shutil.which("openssl")
    if program is None:
        raise BrokerError("openssl is not installed; TLS on a local cluster needs it")
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [program, *arguments],
        input=stdin.encode(),
        capture_output=True,
        timeout=_OPENSSL_S,
        check=False,
    )
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise BrokerError(f"openssl {arguments[0]} ended with status {done.returncode}: {output}")
