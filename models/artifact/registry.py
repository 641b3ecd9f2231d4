"""The registry: a folder (fsspec URL) with one artifact folder per version.

The trainer publishes versions, workers load the announced ones. The manifest of a version is
written last, so a folder without a manifest is not a version.

Announcements are not trusted: only the names below the registry are taken from an announced URL,
and the manifest must have the announced hash.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import fsspec

from models.artifact import (
    Artifact,
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    fetch_artifact,
    open_artifact,
    read_manifest,
)
from models.artifact.folder import Folder, FolderError, MissingFileError
from models.artifact.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, is_name, sha256
from models.artifact.signature import (
    BadSignatureError,
    PublicKeys,
    SigningKey,
    UnsignedError,
)
from models.bounds import MAX_MANIFEST_BYTES
from models.errors import UserError
from models.settings import ModelSettings
from models.suggestions import did_you_mean

FILE: Final = "file://"


class RegistryError(UserError, RuntimeError):
    """A version that cannot be published or found; the message names it and the fix."""


class Registry:
    """The versions in one folder.

    Args:
        url: Folder or fsspec URL; it is created by the first publication.
        keys: Public keys of which one must have signed a version that is fetched; None if versions
            need no signature.
        signing_key: Key that signs what is published; None for no signatures.

    Raises:
        KeyFileError: If ``keys`` do not include the key that signs: no worker would load anything.
    """

    def __init__(
        self,
        url: str | Path,
        keys: PublicKeys | None = None,
        signing_key: SigningKey | None = None,
    ) -> None:
        self.url = str(url).rstrip("/")
        self.keys = keys
        self._signing_key = signing_key
        local = "://" not in self.url or self.url.startswith(FILE)
        self._path = self.url.removeprefix(FILE) if local and "::" not in self.url else None
        if keys is not None and signing_key is not None:
            keys.require(signing_key)

    @classmethod
    def of(cls, settings: ModelSettings, *, signing: bool = False) -> Self:
        """The registry of the settings, with the keys that they name.

        Args:
            settings: The section ``[model]``.
            signing: Whether to read the private key, too.

        Raises:
            KeyFileError: If a file of keys cannot be used.
        """
        keys = PublicKeys.load(settings.public_key) if settings.public_key else None
        key = SigningKey.load(settings.signing_key) if signing and settings.signing_key else None
        return cls(settings.registry, keys, key)

    @cached_property
    def _fs(self) -> Any:
        return fsspec.core.url_to_fs(self.url)[0]

    @cached_property
    def _root(self) -> str:
        return str(fsspec.core.url_to_fs(self.url)[1]).rstrip("/")

    def publish(self, folder: str | Path, version: str) -> str:
        """Copy a verified artifact into the registry and return its URL.

        Publishing the same content again has no effect, except that it is signed if it was not.

        Raises:
            ArtifactError: If the folder does not contain a valid artifact.
            RegistryError: If its manifest names another version, or the version exists with other
                content.
        """
        artifact = fetch_artifact(folder)
        open_artifact(artifact)
        if artifact.manifest.version != version:
            raise RegistryError(
                f"{folder}: its manifest says version {artifact.manifest.version!r}, "
                f"not {version!r}"
            )
        url = f"{self.url}/{version}"
        if version in self.versions():
            if self.manifest_sha256(url) != artifact.manifest_sha256:
                raise RegistryError(f"{url}: this version exists with other content; rename yours")
            self._sign(version, artifact.contents[MANIFEST_FILE])
            return url
        target = f"{self._root}/{version}"
        self._fs.makedirs(target, exist_ok=True)
        for name in sorted(artifact.manifest.files):
            self._fs.pipe_file(f"{target}/{name}", artifact.contents[name])
        self._sign(version, artifact.contents[MANIFEST_FILE])
        self._write(version, MANIFEST_FILE, artifact.contents[MANIFEST_FILE])
        return url

    def sign(self, version: str) -> str:
        """Sign a published version whose hashes are right; returns the key's fingerprint.

        Raises:
            ArtifactError: If it is not a valid artifact.
            RegistryError: If there is no such version, or no signing key.
        """
        if self._signing_key is None:
            raise RegistryError(
                "model.signing_key is not set, so nothing can be signed; `weir model keygen FILE` "
                "makes a key"
            )
        files = fetch_artifact(self.url_of(version), root=self._path)
        open_artifact(files)
        self._sign(version, files.contents[MANIFEST_FILE])
        return self._signing_key.fingerprint

    def _sign(self, version: str, manifest: bytes) -> None:
        if self._signing_key is not None:
            self._write(version, SIGNATURE_FILE, self._signing_key.sign(manifest))

    def _write(self, version: str, name: str, content: bytes) -> None:
        """Write a file of a version so that it is there as a whole, or not at all."""
        path = f"{self._root}/{version}/{name}"
        self._fs.pipe_file(f"{path}.part", content)
        self._fs.mv(f"{path}.part", path)

    def remove(self, version: str) -> None:
        """Remove a version: its manifest first, so that no part of it is taken for a version.

        Raises:
            RegistryError: If there is no such version, or it is a link.
        """
        url = self.url_of(version)
        if self._path is not None and Path(self._path, version).is_symlink():
            raise RegistryError(f"{url} is a link, which is not followed; remove it by hand")
        self._fs.rm_file(f"{self._root}/{version}/{MANIFEST_FILE}")
        self._fs.rm(f"{self._root}/{version}", recursive=True)

    def fetch(self, url: str, manifest_sha256: str) -> ArtifactFiles:
        """The files of an announced version.

        Args:
            url: The announced URL.
            manifest_sha256: The announced hash of its manifest.

        Raises:
            ArtifactError: With code ``outside-registry`` if the URL is not below this registry,
                otherwise as :func:`models.artifact.fetch_artifact`.
        """
        return fetch_artifact(self.below(url), manifest_sha256, self._path, self.keys)

    def fetch_version(self, version: str, manifest_sha256: str | None = None) -> ArtifactFiles:
        """The files of a published version, for a command line that names it.

        Args:
            version: Name of the version.
            manifest_sha256: The expected hash of its manifest; None for any.

        Raises:
            RegistryError: If there is no such version.
            ArtifactError: As :func:`models.artifact.fetch_artifact`.
        """
        return fetch_artifact(self.url_of(version), manifest_sha256, self._path, self.keys)

    def fetch_configured(self, url: str, announced: Collection[str] = ()) -> ArtifactFiles:
        """The files of the artifact that the settings name, ``model.artifact``.

        Args:
            url: A folder, an fsspec URL of one, or ``pretrained:NAME``.
            announced: Hashes with which this very folder was announced: its manifest must have one
                of them, if there are any.

        Raises:
            ArtifactError: As :func:`models.artifact.fetch_artifact`.
        """
        files = fetch_artifact(url, keys=self.keys)
        if announced and files.manifest_sha256 not in announced:
            raise ArtifactError(
                ArtifactFault.HASH_MISMATCH,
                f"{files.url}/{MANIFEST_FILE}: sha256 {files.manifest_sha256} found, and this "
                "folder was announced with another one; it changed after it was published: "
                "publish a new version, or set model.artifact to one that is unchanged",
            )
        return files

    def folder_of(self, url: str) -> str | None:
        """As :meth:`below`; None if the URL is not that of a folder below this registry."""
        with suppress(ArtifactError):
            return self.below(url)
        return None

    def below(self, url: str) -> str:
        """The URL of an announced folder, built from the registry's own URL and validated names.

        Raises:
            ArtifactError: With code ``outside-registry`` for any other URL.
        """
        for base in self._spellings():
            rest = url.removeprefix(f"{base}/").rstrip("/")
            if base and rest != url.rstrip("/") and all(map(is_name, rest.split("/"))):
                return f"{self.url}/{rest}"
        raise ArtifactError(
            ArtifactFault.OUTSIDE_REGISTRY,
            f"{url[:256]!r} is not a folder below the registry, model.registry = {self.url!r}; "
            "publish it there, with names of letters, digits, '_', '.' and '-'",
        )

    def _spellings(self) -> Iterable[str]:
        """The ways to write the registry's URL: as configured, or as an absolute path."""
        yield self.url
        if self._path:
            for way in (os.path.normpath, os.path.abspath, os.path.realpath):
                yield way(self._path)
                yield FILE + way(self._path)

    def versions(self) -> list[str]:
        """Names of the published versions, in order of their names."""
        if not self._fs.exists(self._root):
            return []
        names = [
            str(path).rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self._root, False)
        ]
        return sorted(
            name
            for name in names
            if is_name(name) and self._fs.exists(f"{self._root}/{name}/{MANIFEST_FILE}")
        )

    def url_of(self, version: str) -> str:
        """URL of a published version.

        Raises:
            RegistryError: If there is no such version.
        """
        if not is_name(version) or not self._fs.exists(f"{self._root}/{version}/{MANIFEST_FILE}"):
            known = self.versions()
            hint = did_you_mean(version, known, "`weir model list` shows what is there")
            raise RegistryError(f"{self.url}: no version {version[:128]!r} is published; {hint}")
        return f"{self.url}/{version}"

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version, to be shown; nothing is verified.

        Raises:
            ArtifactError: If it cannot be read.
        """
        return read_manifest(f"{self.url}/{version}", self._path)

    def file(self, version: str, name: str, max_bytes: int) -> bytes | None:
        """A file of a version that its manifest need not list, such as its signature.

        Raises:
            FolderError: If it is there and cannot be read.
        """
        try:
            return Folder(f"{self.url}/{version}", self._path).read(name, max_bytes)
        except MissingFileError:
            return None

    def size(self, version: str) -> int:
        """Bytes of all files of a version."""
        found = self._fs.ls(f"{self._root}/{version}", True)
        return sum(int(entry["size"] or 0) for entry in found if entry["type"] == "file")

    def signed(self, version: str) -> bool | None:
        """Whether one of the configured keys signed a version; None if no keys are configured."""
        return None if self.keys is None else self.has(f"{self.url}/{version}")

    def has(self, url: str, manifest_sha256: str | None = None) -> bool:
        """Whether a manifest is there, with the announced hash, and signed where keys are required.

        The other files are not read: a worker may still refuse the version.
        """
        try:
            folder = Folder(self.below(url), self._path)
            raw = folder.read(MANIFEST_FILE, MAX_MANIFEST_BYTES)
            if self.keys is not None:
                self.keys.check(folder, raw)
        except (ArtifactError, FolderError, UnsignedError, BadSignatureError):
            return False
        return manifest_sha256 in {None, sha256(raw)}

    @staticmethod
    def manifest_sha256(url: str) -> str:
        """Hash of a published manifest, as in announcements.

        Raises:
            RegistryError: If there is no manifest at ``url``.
        """
        try:
            return sha256(Folder(url).read(MANIFEST_FILE, MAX_MANIFEST_BYTES))
        except MissingFileError as error:
            raise RegistryError(f"{url}/{MANIFEST_FILE}: no version is published here") from error


def load_configured(settings: ModelSettings) -> Artifact:
    """The verified artifact that the settings name, signed where they require it.

    Raises:
        KeyFileError: If ``model.public_key`` cannot be used.
        ArtifactError: With the code of the reason; the message names the file.
    """
    return open_artifact(Registry.of(settings).fetch_configured(settings.artifact))
