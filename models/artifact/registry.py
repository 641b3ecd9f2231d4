"""The registry: a folder (fsspec URL) with one artifact folder per version.

The trainer publishes versions, workers load the announced ones. The manifest of a version is
written last, so a folder without a manifest is not a version.

Announcements are not trusted: only the names below the registry are taken from an announced URL,
and the manifest must have the announced hash.
"""

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import fsspec

from models.artifact import (
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    fetch_artifact,
    open_artifact,
)
from models.artifact.folder import Folder, MissingFileError
from models.artifact.manifest import MANIFEST_FILE, is_name, sha256
from models.bounds import MAX_MANIFEST_BYTES
from models.errors import UserError

FILE: Final = "file://"


class RegistryError(UserError, RuntimeError):
    """A version that cannot be published or found; the message names it and the fix."""


class Registry:
    """The versions in one folder.

    Args:
        url: Folder or fsspec URL; it is created by the first publication.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/")
        local = "://" not in self.url or self.url.startswith(FILE)
        self._path = self.url.removeprefix(FILE) if local and "::" not in self.url else None

    @cached_property
    def _fs(self) -> Any:
        return fsspec.core.url_to_fs(self.url)[0]

    @cached_property
    def _root(self) -> str:
        return str(fsspec.core.url_to_fs(self.url)[1]).rstrip("/")

    def publish(self, folder: str | Path, version: str) -> str:
        """Copy a verified artifact into the registry and return its URL.

        Publishing the same content again has no effect.

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
            return url
        target = f"{self._root}/{version}"
        self._fs.makedirs(target, exist_ok=True)
        for name in sorted(artifact.manifest.files):
            self._fs.pipe_file(f"{target}/{name}", artifact.contents[name])
        self._fs.pipe_file(f"{target}/{MANIFEST_FILE}.part", artifact.contents[MANIFEST_FILE])
        self._fs.mv(f"{target}/{MANIFEST_FILE}.part", f"{target}/{MANIFEST_FILE}")
        return url

    def fetch(self, url: str, manifest_sha256: str) -> ArtifactFiles:
        """The files of an announced version.

        Args:
            url: The announced URL.
            manifest_sha256: The announced hash of its manifest.

        Raises:
            ArtifactError: With code ``outside-registry`` if the URL is not below this registry,
                otherwise as :func:`models.artifact.fetch_artifact`.
        """
        return fetch_artifact(self.below(url), manifest_sha256, root=self._path)

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
