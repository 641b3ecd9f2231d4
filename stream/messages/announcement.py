"""Announcements of published artifacts, on the topic ``models``."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from models import bounds
from models.artifact.manifest import SHA256_PATTERN, VERSION_PATTERN
from stream.messages.fields import Millis
from stream.messages.parsing import decode

VersionName = Annotated[str, Meta(max_length=bounds.MAX_VERSION, pattern=VERSION_PATTERN)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]


class ModelRole(StrEnum):
    """What workers do with an announced version."""

    SERVE = "serve"
    """It decides all requests, in place of the version before."""
    CANARY = "canary"
    """It decides the requests of a share of the partitions."""
    SHADOW = "shadow"
    """It scores a share of the requests, and decides none."""


class Cause(StrEnum):
    """Why Weir announces a version; readers accept any other name, too."""

    REBUILD = "rebuild"
    """The trainer's candidate passed its gates."""
    PROMOTE = "promote"
    """Somebody chose the version."""
    ANNOUNCE = "announce"
    """Somebody announced the version again, such as on a new topic."""
    ROLLBACK = "rollback"
    """Somebody went back to the version before."""
    AUTOMATIC_ROLLBACK = "automatic-rollback"
    """The trainer went back, because of what it measured while the version served."""


_GOES_BACK: Final = frozenset({Cause.ROLLBACK, Cause.AUTOMATIC_ROLLBACK})


class ModelAnnouncement(Struct, frozen=True):
    """A published artifact, on the topic ``models`` (the newest usable one serves).

    Attributes:
        version: Version of the artifact.
        url: fsspec URL of the artifact's folder.
        manifest_sha256: Hash of its ``manifest.json``, so that a changed folder is refused.
        ts: Time of the announcement, milliseconds since the epoch.
        metrics: Figures that the gates evaluated, for people: per metric, one or one per task.
        by: Who announced it: ``NAME@HOST``; "" if it does not say.
        cause: Name of the occasion, usually a :class:`Cause`; "" if it does not say.
        reason: The reason for people, such as the evidence of an automatic rollback.
        previous: Version that served when it was announced; None if unknown.
        role: What workers do with it. A canary or shadow ends with the next announcement of its
            role, or of any version that is to serve.
        share: As a canary, its share of the partitions; as a shadow, its share of the requests.
    """

    version: VersionName
    url: Annotated[str, Meta(min_length=1, max_length=bounds.MAX_URL)]
    manifest_sha256: Sha256
    ts: Millis
    metrics: dict[str, float | dict[str, float | None] | None] = {}
    by: Annotated[str, Meta(max_length=bounds.MAX_ANNOUNCER)] = ""
    cause: Annotated[str, Meta(max_length=bounds.MAX_CAUSE)] = ""
    reason: Annotated[str, Meta(max_length=bounds.MAX_REASON)] = ""
    previous: VersionName | None = None
    role: ModelRole = ModelRole.SERVE
    share: Annotated[float, Meta(gt=0, le=1)] = 0.1

    @property
    def key(self) -> bytes:
        """Key of the record: one per announcement, so that compaction keeps all of them."""
        return f"{self.version}@{self.ts}".encode()

    @property
    def goes_back(self) -> bool:
        """Whether it takes ``previous`` out of service for a fault."""
        return self.cause in _GOES_BACK

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
