"""Ed25519 signatures of manifests (RFC 8032): who published a version.

A manifest has the hash of every other file, so its signature covers the version as a whole. The
file ``manifest.sig`` beside it is the raw signature, 64 bytes; keys are PEM files (PKCS #8, and
SubjectPublicKeyInfo), so OpenSSL can make and check all of them. The library ``cryptography`` is
needed where keys are configured, and nowhere else.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from models.artifact.folder import FileTooLargeError, Folder, MissingFileError
from models.artifact.manifest import MANIFEST_FILE, SIGNATURE_FILE, sha256
from models.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE_BYTES: Final = 64
MAX_KEY_BYTES: Final = 16_384
"""Bytes of a file of keys; a public key has 113."""
MAX_KEYS: Final = 16
"""Public keys of a file: the present one, the next one, and those of several publishers."""
_PUBLIC: Final = re.compile(
    rb"-----BEGIN PUBLIC KEY-----[^-]{1,1000}-----END PUBLIC KEY-----", re.DOTALL
)
_INSTALL: Final = "cryptography is not installed; signatures need it; run: pip install 'weir[sign]'"


class KeyFileError(UserError):
    """A file of keys that cannot be used; the message names it and the fix, never its content."""


class UnsignedError(UserError):
    """A version without a signature."""


class BadSignatureError(UserError):
    """A signature that no configured key made of this manifest."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key that signs what is published.

    Attributes:
        path: Its file.
        key: The key.
    """

    path: Path
    key: "Ed25519PrivateKey"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a private key that only its owner can read (root's may be readable by a group).

        Raises:
            KeyFileError: If it cannot be read, others can read it, or it is no Ed25519 key.
        """
        content = _read(Path(path), "model.signing_key", private=True)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra
            Ed25519PrivateKey,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )

        try:
            key = load_pem_private_key(content, password=None)
        except Exception:  # noqa: BLE001 - the library's errors may quote the content
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(
                f"model.signing_key: {path} has no Ed25519 private key in PEM, without a "
                "password; make one with `weir model keygen FILE`"
            )
        return cls(Path(path), key)

    def sign(self, manifest: bytes) -> bytes:
        """The signature of a manifest's bytes."""
        return self.key.sign(manifest)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the public key."""
        return fingerprint(self.key.public_key())


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The keys of which one must have signed a version.

    Attributes:
        path: Their file.
        keys: The keys.
    """

    path: Path
    keys: "tuple[Ed25519PublicKey, ...]"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the public keys of a file, one PEM block each.

        Raises:
            KeyFileError: If it cannot be read, or has another content.
        """
        blocks = _PUBLIC.findall(_read(Path(path), "model.public_key", private=False))
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra
            Ed25519PublicKey,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_public_key,
        )

        try:
            keys = tuple(load_pem_public_key(block) for block in blocks[: MAX_KEYS + 1])
        except Exception:  # noqa: BLE001 - the library has many
            keys = ()
        ours = tuple(key for key in keys if isinstance(key, Ed25519PublicKey))
        if not ours or len(ours) != len(keys) or len(ours) > MAX_KEYS:
            raise KeyFileError(
                f"model.public_key: {path} must have 1 to {MAX_KEYS} Ed25519 public keys in PEM "
                "and no others; `weir model keygen FILE` makes one as FILE.pub"
            )
        return cls(Path(path), ours)

    def check(self, folder: Folder, manifest: bytes) -> None:
        """Check the signature of a folder's manifest.

        Raises:
            UnsignedError: If there is no signature.
            BadSignatureError: If none of the keys made it.
            FolderError: If it cannot be read.
        """
        try:
            signature = folder.read(SIGNATURE_FILE, SIGNATURE_BYTES)
        except MissingFileError as error:
            raise UnsignedError(
                f"{folder.url}: there is no {SIGNATURE_FILE}, and model.public_key requires a "
                "signature; sign it with `weir model sign VERSION`, where the key is"
            ) from error
        except FileTooLargeError:
            signature = b""
        if not any(self._made(key, signature, manifest) for key in self.keys):
            known = ", ".join(fingerprint(key) for key in self.keys)
            raise BadSignatureError(
                f"{folder.url}/{SIGNATURE_FILE}: no key of {self.path} ({known}) made this "
                f"signature of {MANIFEST_FILE}; do not serve it unless you know who published it"
            )

    def require(self, key: SigningKey) -> None:
        """Check that they accept what ``key`` signs.

        Raises:
            KeyFileError: If they do not.
        """
        if key.fingerprint not in map(fingerprint, self.keys):
            raise KeyFileError(
                f"model.public_key: {self.path} does not have the public key of "
                f"{key.path} ({key.fingerprint}), so no worker would load what that signs; add it"
            )

    @staticmethod
    def _made(key: "Ed25519PublicKey", signature: bytes, manifest: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            return False
        return True


def fingerprint(key: "Ed25519PublicKey") -> str:
    """The first 16 digits of the sha256 of a public key's 32 bytes."""
    return sha256(key.public_bytes_raw())[:16]


def make_keys(path: Path) -> tuple[Path, str]:
    """Write a new private key, readable by its owner alone, and its public key to ``PATH.pub``.

    Returns:
        The file of the public key, and its fingerprint.

    Raises:
        KeyFileError: If one of the files exists, or cannot be written.
    """
    try:
        from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )
    except ModuleNotFoundError as error:
        raise KeyFileError(_INSTALL) from error
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key().public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(f"{path.name}.pub")
    for file, content, mode in ((path, private, 0o600), (beside, public, 0o644)):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError as error:
            raise KeyFileError(f"{file} exists already; name another file") from error
        except OSError as error:
            raise KeyFileError(f"{file}: {error.strerror}; name another file") from error
        with open(handle, "wb") as out:  # noqa: PTH123 - a descriptor has no path
            out.write(content)
    return beside, fingerprint(key.public_key())


def _read(path: Path, setting: str, *, private: bool) -> bytes:
    """The content of a file of keys.

    Raises:
        KeyFileError: If it cannot be read, or is private and others can read it.
    """
    try:
        import cryptography  # noqa: F401, PLC0415 - an extra; asked for before the file is read
    except ModuleNotFoundError as error:
        raise KeyFileError(f"{setting}: {_INSTALL}") from error
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(f"{setting}: {path} is not a regular file; correct the setting")
            if private:
                _require_private(found, path, setting)
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"{setting}: {path}: {error.strerror}; correct the setting") from error


def _require_private(found: os.stat_result, path: Path, setting: str) -> None:
    """As PostgreSQL does for its key: only root may let a group read one, as Kubernetes does."""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in {0, os.geteuid()}:
        raise KeyFileError(f"{setting}: {path} belongs to another user; chown it to this one")
    others = 0o037 if found.st_uid == 0 else 0o077
    if mode & others:
        raise KeyFileError(
            f"{setting}: {path} can be read or written by others (mode {mode:o}); run: "
            f"chmod 600 {path}"
        )
