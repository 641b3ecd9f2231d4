"""Announcements of published artifacts, on the compacted topic ``models``."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from models import bounds
from models.artifact.manifest import SHA256_PATTERN, VERSION_PATTERN
from stream.messages.fields import Millis
from stream.messages.parsing import decode

VersionName = Annotated[str, Meta(max_length=bounds.MAX_VERSION, pattern=VERSION_PATTERN)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]


class ModelAnnouncement(Struct, frozen=True):
    """A published artifact, on the compacted topic ``models`` (the newest one serves).

    Attributes:
        version: Version of the artifact.
        url: fsspec URL of the artifact's folder.
        manifest_sha256: Hash of its ``manifest.json``, so that a changed folder is refused.
        ts: Time of publication, milliseconds since the epoch.
        metrics: Figures that the gates evaluated, for people: per metric, one or one per task.
    """

    version: VersionName
    url: Annotated[str, Meta(min_length=1, max_length=bounds.MAX_URL)]
    manifest_sha256: Sha256
    ts: Millis
    metrics: dict[str, float | dict[str, float | None] | None] = {}

    def to_bytes(self) -> bytes:
        """Value of a record on the ``models`` topic."""
        return msgspec.json.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes | None) -> "ModelAnnouncement":
        """Read a record of the ``models`` topic.

        Raises:
            RecordError: Naming the field that is missing, of the wrong type, or out of bounds.
        """
        return decode(raw, _ANNOUNCEMENT, "model announcement", bounds.MAX_ANNOUNCEMENT_BYTES)


_ANNOUNCEMENT: Final = msgspec.json.Decoder(ModelAnnouncement)
