"""Candidates to serve: the newest announced artifact that can be used, else the configured one.

Without I/O. A candidate that cannot be used is skipped: for good if only a new announcement can
recover from its fault, otherwise for a pause that doubles with each attempt.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from models.artifact import ArtifactFault
from models.bounds import MAX_ANNOUNCEMENTS, RETRY_S
from stream.messages import ModelAnnouncement

Coordinates = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(slots=True, eq=False)
class Candidate:
    """An artifact that might serve.

    Attributes:
        url: Location of the artifact.
        version: Announced version; "" for the configured artifact, which may be any.
        manifest_sha256: Announced hash of the manifest; None for the configured artifact.
        coordinates: Those of the announcement; None for the configured artifact.
        announced_sha256: For the configured artifact, the hashes with which its very folder was
            announced; if there are any, its manifest must have one of them.
        fault: Fault for which it was refused last; None if it was not.
        retry_s: Time of the next attempt on the caller's clock; infinite for never.
    """

    url: str
    version: str = ""
    manifest_sha256: str | None = None
    coordinates: Coordinates | None = None
    fault: ArtifactFault | None = None
    retry_s: float = -math.inf
    announced_sha256: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_ANNOUNCEMENTS))
    _pause_s: float = field(default=RETRY_S[0])

    @classmethod
    def announced(cls, announcement: ModelAnnouncement, coordinates: Coordinates) -> "Candidate":
        """The candidate of an announcement."""
        version, digest = announcement.version, announcement.manifest_sha256
        return cls(announcement.url, version, digest, coordinates)

    def refuse(self, fault: ArtifactFault, now_s: float) -> bool:
        """Skip it from now on; returns whether the fault differs from the last one.

        The content of the configured folder may be replaced at any time, so it is tried again
        after any fault but a failure while it served.
        """
        new, self.fault = fault != self.fault, fault
        forever = fault == ArtifactFault.FAILED or (self.coordinates and not fault.is_transient)
        self.retry_s = math.inf if forever else now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, RETRY_S[1])
        return new


class Candidates:
    """All candidates, best first.

    Args:
        configured: URL of the artifact that serves if no announced one does.
    """

    def __init__(self, configured: str) -> None:
        self._configured: Final = Candidate(configured)
        self._announced: deque[Candidate] = deque(maxlen=MAX_ANNOUNCEMENTS)

    def add(self, candidate: Candidate, *, configured: bool = False) -> None:
        """Add the newest announced candidate; only the newest few are kept.

        Args:
            candidate: The candidate.
            configured: Whether its folder is that of the configured artifact.
        """
        self._announced.appendleft(candidate)
        if configured and candidate.manifest_sha256 is not None:
            self._configured.announced_sha256.append(candidate.manifest_sha256)

    def next(self, serving: Candidate | None, now_s: float) -> Candidate | None:
        """The best candidate that may be tried and is better than the serving one, if any."""
        for candidate in (*self._announced, self._configured):
            if candidate is serving:
                return None
            if candidate is self._configured and serving is not None:
                return None
            if candidate.retry_s <= now_s:
                return candidate
        return None
