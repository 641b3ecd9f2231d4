"""The artifact that a rebuild starts from: the newest announced one that workers can serve.

A candidate keeps its feature spec and is compared with it. Announcements are trusted here as little
as in a worker (`stream/intercept/model_watcher.py`): from below the registry, with the announced
hash, after a trial; without any such, the configured artifact it is.
"""

import logging
from collections import deque

from models.artifact import Artifact, ArtifactError, ArtifactFault, load_artifact, open_artifact
from models.artifact.registry import Registry
from models.artifact.trial import hold_trial
from models.bounds import MAX_ANNOUNCEMENTS
from models.settings import Settings
from stream.messages import ModelAnnouncement

logger = logging.getLogger(__name__)


class Incumbent:
    """What serves, as far as the trainer knows.

    Args:
        settings: Registry, tasks, and the artifact that serves where none is announced.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry(settings.model.registry)
        self._announced: deque[ModelAnnouncement] = deque(maxlen=MAX_ANNOUNCEMENTS)

    def announce(self, announcement: ModelAnnouncement) -> None:
        """Take in the newest announcement."""
        self._announced.appendleft(announcement)

    def load(self) -> Artifact:
        """The newest announced artifact that can serve, or the configured one; takes seconds.

        Raises:
            ArtifactError: If none can be loaded, not even the configured one.
        """
        for announcement in tuple(self._announced):
            try:
                return self._load(announcement)
            except ArtifactError as error:
                logger.warning("announced model %s: left aside: %s", announcement.version, error)
        return load_artifact(self._settings.model.artifact)

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
