"""The registry with what was announced of it, whatever is in either."""

import os
from pathlib import Path

import pytest

from models.artifact import ArtifactError
from models.artifact.registry import Registry
from models.bounds import MAX_OTHER_FILE_BYTES, MAX_TIME_MS
from models.settings import Settings
from stream.messages import ModelAnnouncement
from stream.messages.model_history import Announced, ModelHistory
from stream.versions.catalog import GATES_FILE, Catalog, entry, moment
from stream.versions.check import check, fit_to_serve
from tests.tiny_artifact import TASKS, Make


def catalog(registry: Registry, *announced: tuple[str, str]) -> Catalog:
    """With announcements of versions and hashes; an empty hash is the true one."""
    history = [
        Announced(
            ModelAnnouncement(
                version,
                f"{registry.url}/{version}",
                digest or registry.manifest_sha256(f"{registry.url}/{version}"),
                offset,
            ),
            0,
            offset,
            offset,
        )
        for offset, (version, digest) in enumerate(announced)
    ]
    settings = Settings(
        tasks=TASKS,
        policy={"weights": {"click": 1.0}},
        model={"registry": registry.url, "artifact": "pretrained:openrtb"},
    )
    return Catalog(settings, registry, ModelHistory(history))


@pytest.fixture
def registry(make_artifact: Make, tmp_path: Path) -> Registry:
    """A registry with v1 and v2."""
    made = Registry(tmp_path / "registry")
    for version in ("v1", "v2"):
        made.publish(make_artifact(version, version=version), version)
    return made


def test_garbage_in_the_registry_is_a_row_with_a_fault(registry: Registry) -> None:
    """A manifest that is none, a pipe, or a folder: the others are listed, and nothing hangs."""
    folder = Path(registry.url)
    for name in ("text", "pipe", "folder"):
        (folder / name).mkdir()
    (folder / "text" / "manifest.json").write_text("[" * 5000)
    os.mkfifo(folder / "pipe" / "manifest.json")
    (folder / "folder" / "manifest.json").mkdir()
    rows = {row["version"]: row for row in catalog(registry, ("v1", "")).rows()}
    assert [name for name, row in rows.items() if row["error"]] == ["folder", "pipe", "text"]
    assert [name for name, row in rows.items() if row["serving"]] == ["v1"]
    with pytest.raises(ArtifactError):
        catalog(registry).show("text")


def test_what_serves_is_what_workers_can_load(registry: Registry) -> None:
    """Not a version with another hash, nor one that is gone; else the configured artifact."""
    found = catalog(registry, ("v1", ""), ("v2", "0" * 64))
    assert found.serving_version == "v1"
    registry.remove("v1")
    found = catalog(registry, ("v1", "1" * 64), ("v2", "0" * 64))
    assert found.serving is None
    assert found.serving_version not in {None, "v1", "v2"}
    assert [row["serving"] for row in found.rows()] == [False]
    nothing = found.settings.override({"model.artifact": "/nowhere"})
    assert Catalog(nothing, registry, found.history).serving_version is None


def test_a_version_that_changed_after_its_announcement_is_not_fit(
    registry: Registry, make_artifact: Make
) -> None:
    """An announcement with a hash that it never had does not matter, beside the true one."""
    found = catalog(registry, ("v1", ""), ("v1", "0" * 64))
    assert check(found, "v1").passed
    registry.remove("v1")
    registry.publish(make_artifact("again", version="v1", seed=7), "v1")
    found = Catalog(found.settings, registry, found.history)
    assert check(found, "v1").fault == "hash-mismatch"
    assert "announced with another one" in check(found, "v1").message


def test_other_tasks_and_another_name_are_not_fit(registry: Registry) -> None:
    """As in a worker."""
    found = catalog(registry)
    one_task = Settings(
        tasks=TASKS[:1], policy={"weights": {"click": 1.0}}, model=found.settings.model
    )
    with pytest.raises(ArtifactError, match="task-mismatch"):
        fit_to_serve(Catalog(one_task, registry, found.history), "v1")
    (Path(registry.url) / "v2").rename(Path(registry.url) / "v3")
    with pytest.raises(ArtifactError, match="says version 'v2'"):
        fit_to_serve(found, "v3")


def test_verdicts_of_the_gates_are_shown(registry: Registry) -> None:
    """As they are in the file; one that is none, or too large, is a fault of that part."""
    assert catalog(registry).show("v1")["gates"] is None
    file = Path(registry.url) / "v1" / GATES_FILE
    file.write_text('{"log_loss": {"passed": true}}')
    assert catalog(registry).show("v1")["gates"] == {"log_loss": {"passed": True}}
    for content in (b"[" * 5000, b"\xff", b" " * (MAX_OTHER_FILE_BYTES + 1)):
        file.write_bytes(content)
        assert "error" in catalog(registry).show("v1")["gates"]


@pytest.mark.parametrize("ms", [-1, 0, MAX_TIME_MS, MAX_TIME_MS + 1, 2**63 - 1, -(2**63)])
def test_any_time_can_be_shown(ms: int) -> None:
    """A producer may have written any timestamp."""
    announcement = ModelAnnouncement("v1", "registry/v1", "0" * 64, 0)
    assert entry(Announced(announcement, 0, 0, ms))["from"] == moment(ms)
    assert moment(ms)
