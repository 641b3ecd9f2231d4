"""``[model]``: where artifacts are loaded from."""

from models.settings.section import Section


class ModelSettings(Section):
    """The artifact to start with, and the registry of announced ones.

    Attributes:
        artifact: Artifact that serves until one is announced: a folder, an fsspec URL, or
            ``pretrained:NAME`` for one that ships with Weir.
        registry: Folder or fsspec URL that the trainer publishes artifacts to and workers load
            announced ones from.
    """

    artifact: str = "pretrained:openrtb"
    registry: str = "var/registry"
