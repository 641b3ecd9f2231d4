"""The registry: one folder (fsspec URL) with one artifact folder per version.

The trainer publishes, workers load what the announcement names. A version's manifest is written
last, so a folder without one is not a version yet, whatever else lies in it.
"""

from pathlib import Path

import fsspec

from models.artifact import load_artifact, resolve_url
from models.errors import UserError
from models.manifest import MANIFEST_FILE, Manifest, sha256


class RegistryError(UserError, RuntimeError):
    """A version that cannot be published or found."""


class Registry:
    """Versions under one folder.

    Args:
        url: Folder or fsspec URL; made on the first publication.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/")
        self._fs, self._root = fsspec.core.url_to_fs(self.url)
        self._root = self._root.rstrip("/")

    def publish(self, folder: str | Path, version: str) -> str:
        """Copy a verified artifact into the registry and return its URL.

        Publishing the same content again changes nothing.

        Raises:
            ArtifactError: If the folder holds no valid artifact.
            RegistryError: If its manifest names another version, or that version is there
                already with other content.
        """
        artifact = load_artifact(folder)
        if artifact.manifest.version != version:
            raise RegistryError(
                f"{folder}: its manifest says version {artifact.manifest.version!r}, "
                f"not {version!r}"
            )
        url = f"{self.url}/{version}"
        if version in self._folders():
            if self.manifest_sha256(url) != artifact.manifest_sha256:
                raise RegistryError(f"{url}: this version exists with other content; rename yours")
            return url
        source_fs, source = fsspec.core.url_to_fs(resolve_url(folder))
        target = f"{self._root}/{version}"
        self._fs.makedirs(target, exist_ok=True)
        for name in sorted(artifact.manifest.files):
            self._fs.pipe_file(f"{target}/{name}", source_fs.cat_file(f"{source}/{name}"))
        manifest = source_fs.cat_file(f"{source}/{MANIFEST_FILE}")
        self._fs.pipe_file(f"{target}/{MANIFEST_FILE}.part", manifest)
        self._fs.mv(f"{target}/{MANIFEST_FILE}.part", f"{target}/{MANIFEST_FILE}")
        return url

    def versions(self) -> list[str]:
        """Published versions, oldest first (by creation time, then name)."""
        dated = []
        for name in self._folders():
            raw = self._fs.cat_file(f"{self._root}/{name}/{MANIFEST_FILE}")
            dated.append((Manifest.model_validate_json(raw).created, name))
        return [name for _, name in sorted(dated)]

    def latest(self) -> str | None:
        """URL of the newest version, None while there is none."""
        versions = self.versions()
        return f"{self.url}/{versions[-1]}" if versions else None

    @staticmethod
    def manifest_sha256(url: str) -> str:
        """Hash of a published manifest, as announcements carry it.

        Raises:
            RegistryError: If there is no manifest at ``url``.
        """
        fs, path = fsspec.core.url_to_fs(url)
        try:
            return sha256(fs.cat_file(f"{path.rstrip('/')}/{MANIFEST_FILE}"))
        except FileNotFoundError as error:
            raise RegistryError(f"{url}/{MANIFEST_FILE}: no version is published here") from error

    def _folders(self) -> list[str]:
        if not self._fs.exists(self._root):
            return []
        names = [
            str(path).rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self._root, False)
        ]
        return [name for name in names if self._fs.exists(f"{self._root}/{name}/{MANIFEST_FILE}")]
