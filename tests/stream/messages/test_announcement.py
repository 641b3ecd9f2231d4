"""Announcements: who and why, within bounds, and old ones without them."""

import json

import pytest

from models import bounds
from stream.messages import Cause, ModelAnnouncement, ModelRole, RecordError

FIELDS = {"version": "v1", "url": "registry/v1", "manifest_sha256": "0" * 64, "ts": 5}


def test_one_without_who_and_why_is_valid() -> None:
    """Announcements of other programs have the fields that workers need, and no others."""
    found = ModelAnnouncement.from_bytes(json.dumps(FIELDS).encode())
    assert (found.by, found.cause, found.reason, found.previous) == ("", "", "", None)
    assert not found.goes_back


@pytest.mark.parametrize(
    "more",
    [
        {"by": "x" * (bounds.MAX_ANNOUNCER + 1)},
        {"by": None},
        {"cause": "x" * (bounds.MAX_CAUSE + 1)},
        {"cause": 1},
        {"reason": "x" * (bounds.MAX_REASON + 1)},
        {"reason": {"deep": []}},
        {"role": "king"},
        {"role": None},
        {"share": 0},
        {"share": 1.5},
        {"share": "all"},
        {"previous": "../v0"},
        {"previous": "v" * (bounds.MAX_VERSION + 1)},
        {"previous": ""},
    ],
)
def test_who_and_why_are_bounded(more: dict[str, object]) -> None:
    """A text that is too long, no text, or no name of a version: the field is named."""
    with pytest.raises(RecordError, match=rf"model announcement.{next(iter(more))}: "):
        ModelAnnouncement.from_bytes(json.dumps(FIELDS | more).encode())


def test_an_unknown_cause_is_no_fault() -> None:
    """Workers follow announcements whose cause a newer Weir has added."""
    found = ModelAnnouncement.from_bytes(json.dumps(FIELDS | {"cause": "canary"}).encode())
    assert found.cause == "canary"


def test_every_announcement_has_a_key_of_its_own() -> None:
    """Compaction keeps the newest record of a key, so the same key would lose history."""
    one = ModelAnnouncement("v1", "registry/v1", "0" * 64, 5)
    again = ModelAnnouncement("v1", "registry/v1", "0" * 64, 6, cause=Cause.ROLLBACK)
    assert len({one.key, again.key, ModelAnnouncement("v2", "r/v2", "0" * 64, 5).key}) == 3
    assert one.key == ModelAnnouncement("v1", "registry/v1", "0" * 64, 5, by="other").key


def test_the_role_is_that_of_serving_unless_it_says_otherwise() -> None:
    found = ModelAnnouncement.from_bytes(json.dumps(FIELDS).encode())
    assert found.role is ModelRole.SERVE
    more = {"role": "canary", "share": 0.25}
    canary = ModelAnnouncement.from_bytes(json.dumps(FIELDS | more).encode())
    assert (canary.role, canary.share) == (ModelRole.CANARY, 0.25)
    assert ModelAnnouncement.from_bytes(canary.to_bytes()) == canary
