"""Checks of this machine: artifact, registry, clock."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream.doctor import local
from stream.doctor.facts import NewestRequest
from stream.doctor.finding import Level
from tests.stream.doctor.cluster import SETTINGS, facts


@pytest.mark.parametrize(
    ("newest", "level", "message"),
    [
        (None, "ok", "bid-requests has no record"),
        (NewestRequest(1_000_000, by_broker=False), "ok", "is 0.0 s old by its producer's clock"),
        (NewestRequest(940_000, by_broker=True), "ok", "is 60.0 s old by the broker's clock"),
        (NewestRequest(1_030_000, by_broker=True), "warn", "30.0 s ahead of this machine"),
    ],
)
def test_clocks_are_compared_by_the_newest_request(
    newest: NewestRequest | None, level: str, message: str
) -> None:
    """A request that is ahead of this machine shows that one of the clocks is wrong."""
    cluster = replace(facts(), newest=newest, now_ms=1_000_000)
    (found,) = local.clock(SETTINGS, cluster)
    assert (found.level, message in found.message) == (level, True), found


def test_artifact_and_registry_are_checked(tmp_path: Path) -> None:
    """An artifact that does not exist; a registry that does not exist or cannot be reached."""
    absent = SETTINGS.override({"model.artifact": str(tmp_path / "absent")})
    (found,) = local.artifact(absent)
    assert (found.level, "fail open" in found.fix) == (Level.FAIL, True)
    unkeyed = SETTINGS.override({"model.public_key": str(tmp_path / "absent.pub")})
    (found,) = local.artifact(unkeyed)
    assert (found.level, "model.public_key" in found.message) == (Level.FAIL, True)
    (found,) = local.artifact(SETTINGS.override({"model.artifact": "pretrained:openrtb"}))
    assert found.level is Level.OK
    (found,) = local.registry(SETTINGS.override({"model.registry": str(tmp_path / "none")}))
    assert found.level is Level.WARN
    (found,) = local.registry(SETTINGS.override({"model.registry": "nosuch://bucket/x"}))
    assert found.level is Level.FAIL
    (found,) = local.registry(SETTINGS.override({"model.registry": str(tmp_path)}))
    assert found.level is Level.OK
