"""The incumbent of a rebuild: the newest announced artifact that workers can serve.

A candidate keeps the incumbent's feature spec and is compared with it. Announcements are verified
as in a worker (`stream/intercept/model_watcher.py`): the URL lies below the registry, the hash is
the announced one, a trial run succeeds. Without such an artifact, the configured one is the
incumbent.
"""

import logging
from collections import deque

from models.artifact import Artifact, ArtifactError, ArtifactFault, open_artifact
from models.artifact.registry import Registry
from models.artifact.trial import hold_trial
from models.bounds import MAX_ANNOUNCEMENTS
from models.settings import Settings
from stream.messages import ModelAnnouncement, ModelRole

logger = logging.getLogger(__name__)


class Incumbent:
    """The serving artifact according to the announcements that the trainer read.

    Args:
        settings: Registry, tasks, and the artifact that serves if none is announced.

    Raises:
        KeyFileError: If a file of keys cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # with the private key, so that a wrong one ends the trainer at its start, not a rebuild
        self._registry = Registry.of(settings.model, signing=True)
        self._announced: deque[ModelAnnouncement] = deque(maxlen=MAX_ANNOUNCEMENTS)

    def announce(self, announcement: ModelAnnouncement) -> None:
        """Add the newest announcement, if the version is to serve."""
        if announcement.role is ModelRole.SERVE:
            self._announced.appendleft(announcement)

    def load(self) -> Artifact:
        """Load the newest announced artifact that can serve, else the configured one (seconds).

        Raises:
            ArtifactError: If the configured artifact cannot be loaded either.
        """
        announced = tuple(self._announced)
        for announcement in announced:
            try:
                return self._load(announcement)
            except ArtifactError as error:
                logger.warning("announced model %s skipped: %s", announcement.version, error)
        configured = self._settings.model.artifact
        folder = self._registry.folder_of(configured)
        own = {
            one.manifest_sha256
            for one in announced
            if folder and self._registry.folder_of(one.url) == folder
        }
        return open_artifact(self._registry.fetch_configured(configured, own))

    def _load(self, announcement: ModelAnnouncement) -> Artifact:
        files = self._registry.fetch(announcement.url, announcement.manifest_sha256)
        found, wanted = files.manifest.task_set.names, self._settings.task_set.names
        if found != wanted:
            raise ArtifactError(
                ArtifactFault.TASK_MISMATCH,
                f"{files.url}: predicts {', '.join(found)}, the settings list {', '.join(wanted)}",
            )
        hold_trial(files)
        return open_artifact(files)
