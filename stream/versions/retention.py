"""Removing old versions from the registry, except those that are or may be in use."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from models.artifact import ArtifactError
from stream.versions.catalog import Catalog

DAY_MS: Final = 86_400_000


class Kept(StrEnum):
    """Why a version is kept; the first reason that holds."""

    SERVING = "serves, or served within the retention"
    FALLBACK = "takes over where a later one fails, or by a rollback"
    CONFIGURED = "is model.artifact"
    RECENT = "was made within the retention"
    NEWEST = "is one of the newest"
    UNREADABLE = "its manifest cannot be read, so its age is unknown"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a version.

    Attributes:
        version: The version.
        kept: Why it is kept; None if it is removed.
    """

    version: str
    kept: Kept | None


def plan(catalog: Catalog, keep: int, older_than_days: float, now_ms: int) -> Iterator[Fate]:
    """What becomes of each version, oldest first.

    A version is removed if it was made and last in force longer ago than ``older_than_days``, is
    not one of the ``keep`` newest, and workers can neither serve nor fall back to it. A version
    that was published and is not announced yet is protected by its age.

    Args:
        catalog: Registry and history.
        keep: Number of the newest versions that are kept in any case.
        older_than_days: The retention, days.
        now_ms: The present, ms.
    """
    since_ms = now_ms - int(older_than_days * DAY_MS)
    history, usable = catalog.history, catalog.usable
    used = history.in_use_since(since_ms, now_ms, usable)
    fallbacks = {
        found.version
        for found in (history.newest(usable), history.rollback_target(usable))
        if found is not None
    }
    configured = catalog.registry.folder_of(catalog.settings.model.artifact)
    created = {version: _created_ms(catalog, version) for version in catalog.registry.versions()}
    by_age = sorted(created, key=lambda version: (created[version] or 0, version))
    newest = set(by_age[len(by_age) - keep :]) if keep else set()
    for version in by_age:
        made_ms = created[version]
        reasons = {
            Kept.SERVING: version in used,
            Kept.FALLBACK: version in fallbacks,
            Kept.CONFIGURED: configured == f"{catalog.registry.url}/{version}",
            Kept.UNREADABLE: made_ms is None,
            Kept.RECENT: made_ms is not None and made_ms > since_ms,
            Kept.NEWEST: version in newest,
        }
        yield Fate(version, next((reason for reason, holds in reasons.items() if holds), None))


def _created_ms(catalog: Catalog, version: str) -> int | None:
    try:
        return int(catalog.registry.manifest(version).created_s * 1000)
    except ArtifactError:
        return None
