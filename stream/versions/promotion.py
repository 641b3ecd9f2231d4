"""Announcing a version: to make it serve, to say so again, or to go back to the one before."""

import time
from collections.abc import Callable
from typing import Any

from models.artifact.registry import RegistryError
from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.model_history import Announced
from stream.messages.models_topic import announce
from stream.versions.catalog import Catalog, entry
from stream.versions.check import fit_to_serve

Clock = Callable[[], float]
"""Seconds since the epoch."""


async def promote(
    catalog: Catalog,
    version: str,
    *,
    by: str,
    reason: str,
    again: bool = False,
    role: ModelRole = ModelRole.SERVE,
    share: float = 1.0,
    clock: Clock = time.time,
) -> dict[str, Any]:
    """Verify a version and announce it.

    Args:
        catalog: Registry and history.
        version: The version.
        by: Who announces it.
        reason: Why, for people.
        again: Whether it may be the version that serves already.
        role: What workers do with it; other roles than that of serving end with the next
            announcement of a version that is to serve.
        share: Share of the partitions (canary) or of the requests (shadow).
        clock: The present.

    Returns:
        The announcement, as the history shows it.

    Raises:
        RegistryError: If there is no such version, or it serves already.
        ArtifactError: If workers would refuse it.
        AnnouncementError: If ``by`` or ``reason`` is too long.
    """
    catalog.registry.url_of(version)
    serving = catalog.serving
    if serving is not None and serving.version == version and not again:
        raise RegistryError(
            f"{version} serves already, announced at offset {serving.offset} of "
            f"{catalog.settings.topics.models}; `weir model announce` announces it again"
        )
    cause = Cause.ANNOUNCE if again else Cause.PROMOTE
    return await _announce(catalog, version, cause, by, reason, clock, role, share)


async def roll_back(
    catalog: Catalog,
    to: str | None = None,
    *,
    by: str,
    reason: str,
    clock: Clock = time.time,
) -> dict[str, Any]:
    """Announce the version that served before the one that serves, or another earlier one.

    Args:
        catalog: Registry and history.
        to: The version to go back to; None for the one before.
        by: Who goes back.
        reason: Why, for people.
        clock: The present.

    Returns:
        The announcement, as the history shows it; ``previous`` is the version that served.

    Raises:
        RegistryError: If nothing was announced, or there is nothing to go back to.
        ArtifactError: If workers would refuse that version.
        AnnouncementError: If ``by`` or ``reason`` is too long.
    """
    topic = catalog.settings.topics.models
    serving = catalog.serving
    if serving is None:
        raise RegistryError(
            f"{topic}: no announced version can be loaded, so model.artifact serves and there is "
            "nothing to go back from; `weir model promote VERSION` chooses a version"
        )
    if to is None:
        target = catalog.history.rollback_target(catalog.usable)
        if target is None:
            raise RegistryError(
                f"{topic}: no version served before {serving.version} that could be loaded; "
                "`weir model list` shows what is there, `weir model promote VERSION` chooses"
            )
        to = target.version
    elif to == serving.version:
        raise RegistryError(f"{to} serves already; name an earlier version after --to")
    elif catalog.history.of(to) is None:
        catalog.registry.url_of(to)
        raise RegistryError(
            f"{to} never served, so it is nothing to go back to; `weir model promote {to}` "
            "makes it serve"
        )
    return await _announce(catalog, to, Cause.ROLLBACK, by, reason, clock)


async def _announce(
    catalog: Catalog,
    version: str,
    cause: Cause,
    by: str,
    reason: str,
    clock: Clock,
    role: ModelRole = ModelRole.SERVE,
    share: float = 1.0,
) -> dict[str, Any]:
    files, _ = fit_to_serve(catalog, version)
    now_ms = int(clock() * 1000)
    metrics = files.manifest.metrics.student
    announcement = ModelAnnouncement(
        version=version,
        url=files.url,
        manifest_sha256=files.manifest_sha256,
        ts=now_ms,
        metrics={"auc": {name: task.auc_roc for name, task in metrics.items()}},
        by=by,
        cause=cause,
        reason=reason,
        previous=catalog.serving_version,
        role=role,
        share=share,
    )
    offset = await announce(catalog.settings, announcement)
    return entry(Announced(announcement, 0, offset, now_ms))
