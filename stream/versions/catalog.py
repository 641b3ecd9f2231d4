"""The registry together with what was announced of it: what serves, what is there, and details."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from models.artifact import ArtifactError
from models.artifact.folder import FolderError
from models.artifact.registry import Registry
from models.bounds import MAX_OTHER_FILE_BYTES, MAX_TIME_MS
from models.errors import UserError
from models.settings import Settings
from stream.messages import ModelAnnouncement, ModelRole
from stream.messages.model_history import Announced, ModelHistory
from stream.messages.models_topic import read_history

GATES_FILE: Final = "gates.json"
"""Verdicts of the gates that a version passed, beside its manifest."""


@dataclass(frozen=True)
class Catalog:
    """The registry, and the announcements of its versions.

    Attributes:
        settings: All settings.
        registry: The registry.
        history: The announcements of folders below it.
    """

    settings: Settings
    registry: Registry
    history: ModelHistory
    _usable: dict[tuple[str, str], bool] = field(default_factory=dict)

    @classmethod
    async def read(cls, settings: Settings) -> "Catalog":
        """Read the topic ``models``.

        Raises:
            TopicError: If there is no such topic.
            KeyFileError: If ``model.public_key`` cannot be used.
        """
        registry = Registry.of(settings.model)
        history = await read_history(settings, lambda one: registry.folder_of(one.url) is not None)
        return cls(settings, registry, history)

    def usable(self, announcement: ModelAnnouncement) -> bool:
        """Whether its manifest is there with the announced hash, and signed where it must be."""
        key = (announcement.url, announcement.manifest_sha256)
        if key not in self._usable:
            self._usable[key] = self.registry.has(*key)
        return self._usable[key]

    @property
    def serving(self) -> Announced | None:
        """The announcement that workers follow; None if none of them can be used."""
        return self.history.newest(self.usable)

    @property
    def serving_version(self) -> str | None:
        """The version that workers follow; that of ``model.artifact`` if none is announced."""
        if self.serving is not None:
            return self.serving.version
        try:
            found = self.registry.fetch_configured(self.settings.model.artifact)
        except UserError:
            return None
        return found.manifest.version

    def rows(self) -> Iterator[dict[str, Any]]:
        """All versions, oldest first: what `weir model list` shows."""
        serving = self.serving
        found = [self._row(version) for version in self.registry.versions()]
        for row in sorted(found, key=lambda row: (row["created"] or "", row["version"])):
            row["serving"] = serving is not None and row["version"] == serving.version
            yield row

    def _row(self, version: str) -> dict[str, Any]:
        announced = self.history.of(version)
        row: dict[str, Any] = {
            "version": version,
            "created": None,
            "rows": None,
            "auc": {},
            "bytes": None,
            "signed": None,
            "announced": announced and moment(announced.ts),
            "error": None,
        }
        try:
            manifest = self.registry.manifest(version)
            row["bytes"] = self.registry.size(version)
            row["signed"] = self.registry.signed(version)
        except (ArtifactError, OSError) as error:
            return row | {"error": str(error)}
        return row | {
            "created": moment(int(manifest.created_s * 1000)),
            "rows": manifest.training.rows,
            "auc": {name: task.auc_roc for name, task in manifest.metrics.student.items()},
        }

    def show(self, version: str) -> dict[str, Any]:
        """Everything about one version.

        Raises:
            RegistryError: If there is no such version.
            ArtifactError: If its manifest cannot be read.
        """
        url = self.registry.url_of(version)
        manifest = self.registry.manifest(version)
        return {
            "version": version,
            "url": url,
            "serving": self.serving is not None and self.serving.version == version,
            "bytes": self.registry.size(version),
            "signed": self.registry.signed(version),
            "manifest_sha256": self.registry.manifest_sha256(url),
            "announced": [entry(a) for a in self.history.everything if a.version == version],
            "gates": self._gates(version),
            "manifest": manifest.model_dump(mode="json"),
        }

    def _gates(self, version: str) -> Any:
        try:
            raw = self.registry.file(version, GATES_FILE, MAX_OTHER_FILE_BYTES)
            return None if raw is None else orjson.loads(raw)
        except (FolderError, orjson.JSONDecodeError) as error:
            return {"error": str(error)}


def moment(ms: int) -> str:
    """A time as ISO 8601, UTC, to the second; anything else as the number that it is."""
    if not 0 <= ms <= MAX_TIME_MS:
        return f"{ms} ms"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def entry(announced: Announced, until: int | None = None) -> dict[str, Any]:
    """An announcement as the history shows it.

    Args:
        announced: The announcement.
        until: Time of the next one, ms.
    """
    one = announced.announcement
    return {
        "from": moment(announced.ts),
        "until": None if until is None else moment(until),
        "version": one.version,
        "role": str(one.role),
        "share": None if one.role is ModelRole.SERVE else one.share,
        "cause": one.cause,
        "by": one.by,
        "reason": one.reason,
        "previous": one.previous,
        "url": one.url,
        "manifest_sha256": one.manifest_sha256,
        "partition": announced.partition,
        "offset": announced.offset,
    }
