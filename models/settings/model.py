"""``[model]``: where artifacts are loaded from, and what shadows may cost."""

from models.settings.section import Section, Share


class ModelSettings(Section):
    """The artifact to start with, and the registry of announced ones.

    Attributes:
        artifact: Artifact that serves until one is announced: a folder, an fsspec URL, or
            ``pretrained:NAME`` for one that ships with Weir.
        registry: Folder or fsspec URL that the trainer publishes artifacts to and workers load
            announced ones from.
        signing_key: File of the Ed25519 private key that signs published versions; empty for none.
        public_key: File of the Ed25519 public keys of which one must have signed a version; empty
            to load versions without a signature, too.
        shadow_share: Largest share of its requests that a worker has a shadow score, whatever was
            announced; 0 switches shadows off.
    """

    artifact: str = "pretrained:openrtb"
    registry: str = "var/registry"
    signing_key: str = ""
    public_key: str = ""
    shadow_share: Share = 0.1
