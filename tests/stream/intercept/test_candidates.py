"""Which artifact should serve, by announcements and by what became of them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from models.artifact import ArtifactFault
from models.bounds import MAX_ANNOUNCEMENTS, RETRY_S
from stream.intercept.candidates import Candidate, Candidates
from stream.messages import ModelAnnouncement


def announced(number: int) -> Candidate:
    announcement = ModelAnnouncement(f"v{number}", f"registry/v{number}", "0" * 64, 1)
    return Candidate.announced(announcement, ("models", 0, number))


def test_the_newest_announcement_comes_first() -> None:
    """Then the older ones, then the configured artifact; nothing that is worse than what serves."""
    candidates = Candidates("configured")
    first, second = announced(1), announced(2)
    configured = candidates.next(None, 0.0)
    assert configured is not None
    assert (configured.url, configured.coordinates) == ("configured", None)
    for candidate in (first, second):
        candidates.add(candidate)
    assert candidates.next(None, 0.0) is second
    assert candidates.next(first, 0.0) is second
    assert candidates.next(second, 0.0) is None
    second.refuse(ArtifactFault.BAD_MODEL, 0.0)
    assert candidates.next(first, 1e9) is None
    assert candidates.next(None, 1e9) is first
    first.refuse(ArtifactFault.BAD_MODEL, 0.0)
    assert candidates.next(None, 1e9) is configured


def test_only_the_newest_announcements_are_kept() -> None:
    """With more than that many, the oldest are forgotten, and what serves may be among them."""
    candidates = Candidates("configured")
    made = [announced(number) for number in range(MAX_ANNOUNCEMENTS + 1)]
    for candidate in made:
        candidates.add(candidate)
    for candidate in reversed(made[1:]):
        assert candidates.next(made[0], 0.0) is candidate
        candidate.refuse(ArtifactFault.BAD_MODEL, 0.0)
    assert candidates.next(made[0], 1e9) is None
    configured = candidates.next(None, 0.0)
    assert configured is not None
    assert configured.coordinates is None


def test_what_may_pass_is_tried_again_less_and_less_often() -> None:
    """The wait doubles up to a bound; the same fault is reported once."""
    candidate = announced(1)
    assert candidate.refuse(ArtifactFault.MISSING_FILE, 100.0)
    waits = [candidate.retry_s - 100.0]
    for _ in range(9):
        assert not candidate.refuse(ArtifactFault.MISSING_FILE, 100.0)
        waits.append(candidate.retry_s - 100.0)
    assert waits == [min(RETRY_S[0] * 2**n, RETRY_S[1]) for n in range(10)]
    assert candidate.refuse(ArtifactFault.UNREACHABLE, 100.0)


def test_the_configured_folder_may_be_mended_in_place() -> None:
    """It is tried again whatever was wrong, but not after it failed while it served."""
    configured = Candidates("configured").next(None, 0.0)
    assert configured is not None
    configured.refuse(ArtifactFault.BAD_MODEL, 0.0)
    assert configured.retry_s == RETRY_S[0]
    configured.refuse(ArtifactFault.FAILED, 0.0)
    assert configured.retry_s == math.inf


@given(st.lists(st.sampled_from([*ArtifactFault, "good", "new"]), max_size=40))
def test_whatever_happens_the_newest_usable_one_serves(events: list[ArtifactFault | str]) -> None:
    """Of the announcements kept, the newest that is not refused for good is tried, and no other."""
    candidates = Candidates("configured")
    made: list[Candidate] = []
    serving: Candidate | None = None
    now_s = 0.0
    for event in events:
        now_s += 1000.0  # beyond all waits
        if event == "new":
            made.append(announced(len(made)))
            candidates.add(made[-1])
            continue
        candidate = candidates.next(serving, now_s)
        usable = [c for c in made[-MAX_ANNOUNCEMENTS:] if c.retry_s < math.inf]
        if serving in usable:
            usable = usable[usable.index(serving) + 1 :]
        elif serving is not None and serving.coordinates is not None:
            usable = [c for c in usable if c.coordinates > serving.coordinates]
        if usable:
            assert candidate is usable[-1]
        else:
            assert candidate is None or (candidate.coordinates is None and serving is None)
        if candidate is not None and event == "good":
            serving = candidate
        elif candidate is not None:
            candidate.refuse(ArtifactFault(event), now_s)
