"""Verifying a version as a worker does before it serves: hashes, signature, model, trial."""

from dataclasses import dataclass
from typing import Final

from models.artifact import ArtifactError, ArtifactFault, ArtifactFiles
from models.artifact.trial import hold_trial
from stream.versions.catalog import Catalog

TASKS_FIX: Final = "retrain it or change [[tasks]]"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of verifying a version.

    Attributes:
        version: The version.
        fault: Code of the reason to refuse it; "" if it can serve.
        message: The same for people.
        us: CPU time per request in its trial, microseconds; None if it was refused.
    """

    version: str
    fault: str
    message: str
    us: float | None

    @property
    def passed(self) -> bool:
        """Whether it can serve."""
        return not self.fault


def check(catalog: Catalog, version: str) -> Checked:
    """Verify a version; a fault of it is in the result.

    Raises:
        RegistryError: If there is no such version.
    """
    catalog.registry.url_of(version)
    try:
        _, us = fit_to_serve(catalog, version)
    except ArtifactError as error:
        return Checked(version, error.code, error.message, None)
    return Checked(version, "", "", us)


def fit_to_serve(catalog: Catalog, version: str) -> tuple[ArtifactFiles, float]:
    """Verify a version, also against the hashes with which it was announced, if it was.

    Returns:
        Its files, and the CPU time per request in its trial, microseconds.

    Raises:
        RegistryError: If there is no such version.
        ArtifactError: With the code of the reason to refuse it.
    """
    files = catalog.registry.fetch_version(version)
    url = f"{catalog.registry.url}/{version}"
    announced = {
        one.announcement.manifest_sha256
        for one in catalog.history.everything
        if catalog.registry.folder_of(one.announcement.url) == url
    }
    if announced and files.manifest_sha256 not in announced:
        raise ArtifactError(
            ArtifactFault.HASH_MISMATCH,
            f"{url}: the manifest's sha256 is {files.manifest_sha256}, and it was announced with "
            "another one; it changed after it was published: publish it under a new version",
        )
    if files.manifest.version != version:
        raise ArtifactError(
            ArtifactFault.BAD_MANIFEST,
            f"{files.url}: its manifest says version {files.manifest.version!r}",
        )
    found, wanted = files.manifest.task_set.names, catalog.settings.task_set.names
    if found != wanted:
        raise ArtifactError(
            ArtifactFault.TASK_MISMATCH,
            f"{files.url}: predicts {', '.join(found)}, but the settings list "
            f"{', '.join(wanted)}; {TASKS_FIX}",
        )
    return files, hold_trial(files)
