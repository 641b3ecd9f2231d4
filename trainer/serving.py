"""What serves, as the trainer knows it: the artifact of the settings, then what is announced."""

import logging

from models.artifact import load_artifact
from models.errors import UserError
from models.features import FeatureSpec
from models.settings import ModelSettings
from stream.records import ModelAnnouncement, RecordError

logger = logging.getLogger(__name__)


class ServingModel:
    """The model that a candidate must not fall behind, and whose spec it keeps.

    Args:
        settings: The artifact to begin with, and the registry that announcements must lie in.

    Attributes:
        url: Where it lies.
        spec: Its feature spec; None while it cannot be loaded.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._registry = settings.registry.rstrip("/") + "/"
        self.url = settings.artifact
        self.spec: FeatureSpec | None = None
        try:
            self.spec = load_artifact(self.url).spec
        except UserError as error:
            logger.warning(
                "what serves cannot be loaded: %s; examples are stored, but nothing can be "
                "rebuilt until model.artifact or an announcement names an artifact",
                error,
            )

    def follow(self, value: bytes | None) -> None:
        """Take an announcement.

        Raises:
            RecordError: If it cannot be read, or names nothing below the registry.
            UserError: If what it names is no valid artifact.
        """
        announcement = ModelAnnouncement.from_bytes(value)
        if not announcement.url.startswith(self._registry) or ".." in announcement.url:
            raise RecordError(
                f"model announcement.url: {announcement.url!r} is not below model.registry"
            )
        artifact = load_artifact(announcement.url, announcement.manifest_sha256)
        self.url, self.spec = announcement.url, artifact.spec
