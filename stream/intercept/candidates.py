"""Which artifact should serve: the newest announced one that can, else the configured one. No I/O.

A candidate that cannot be used is left aside: for good if nothing but a new announcement can mend
it, otherwise for a while that doubles each time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from models.artifact import ArtifactFault
from models.bounds import MAX_ANNOUNCEMENTS, RETRY_S
from stream.messages import ModelAnnouncement

Place = tuple[str, int, int]


@dataclass(slots=True, eq=False)
class Candidate:
    """An artifact that might serve.

    Attributes:
        url: Where it is.
        version: Its announced version; "" for the configured artifact, which may be any.
        manifest_sha256: Announced hash of its manifest; None for the configured one.
        place: Topic, partition and offset of its announcement; None for the configured one.
        fault: Why it was refused last; None if it was not.
        due_s: When it may be tried, by the clock of the caller; infinite for never again.
    """

    url: str
    version: str = ""
    manifest_sha256: str | None = None
    place: Place | None = None
    fault: ArtifactFault | None = None
    due_s: float = -math.inf
    _pause_s: float = field(default=RETRY_S[0])

    @classmethod
    def announced(cls, announcement: ModelAnnouncement, place: Place) -> "Candidate":
        """The candidate of an announcement at ``place``."""
        return cls(announcement.url, announcement.version, announcement.manifest_sha256, place)

    def refuse(self, fault: ArtifactFault, now_s: float) -> bool:
        """Leave it aside; returns whether the reason is another one than the last time.

        What the configured folder holds may be replaced at any time, so it is tried again whatever
        was wrong, unless it failed while it served.
        """
        new, self.fault = fault != self.fault, fault
        forever = fault == ArtifactFault.FAILED or (self.place and not fault.is_transient)
        self.due_s = math.inf if forever else now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, RETRY_S[1])
        return new


class Candidates:
    """All that might serve, best first.

    Args:
        configured: URL of the artifact that serves where nothing is announced.
    """

    def __init__(self, configured: str) -> None:
        self._configured: Final = Candidate(configured)
        self._announced: deque[Candidate] = deque(maxlen=MAX_ANNOUNCEMENTS)

    def announce(self, candidate: Candidate) -> None:
        """Put an announcement before all others; only the newest few are kept."""
        self._announced.appendleft(candidate)

    def next(self, serving: Candidate | None, now_s: float) -> Candidate | None:
        """The best one that is due and better than what serves; None if there is none."""
        for candidate in (*self._announced, self._configured):
            if candidate is serving:
                return None
            if candidate is self._configured and serving is not None:
                return None
            if candidate.due_s <= now_s:
                return candidate
        return None
