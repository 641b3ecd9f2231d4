from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifact import ArtifactError, load_artifact
from models.registry import Registry, RegistryError

Make = Callable[..., Path]


@pytest.mark.parametrize("memory", [False, True])
def test_versions_come_back_as_published(make_artifact: Make, tmp_path: Path, memory: bool) -> None:
    """A published version loads from its URL under its announced hash, the newest is the latest."""
    registry = Registry(f"memory://{tmp_path.name}" if memory else tmp_path / "registry")
    assert registry.versions() == []
    assert registry.latest() is None
    newer = make_artifact("one", version="b", created="2024-05-03T00:00:00Z")
    older = make_artifact("two", version="c", created="2024-05-02T00:00:00Z")
    url = registry.publish(newer, "b")
    registry.publish(older, "c")
    assert registry.versions() == ["c", "b"]
    assert registry.latest() == url
    artifact = load_artifact(url, registry.manifest_sha256(url))
    assert artifact.manifest == load_artifact(newer).manifest
    assert artifact.onnx == (newer / "student.onnx").read_bytes()


def test_a_version_is_published_once(make_artifact: Make, tmp_path: Path) -> None:
    """The same content again changes nothing; other content under the same name is refused."""
    registry = Registry(tmp_path / "registry")
    folder, other = make_artifact("one"), make_artifact("two", seed=5)
    assert registry.publish(folder, "v1") == registry.publish(folder, "v1")
    with pytest.raises(RegistryError, match="other content"):
        registry.publish(other, "v1")
    assert load_artifact(registry.latest() or "").manifest.seed == 0


def test_only_valid_artifacts_are_published(make_artifact: Make, tmp_path: Path) -> None:
    """A tampered folder or another version's name leaves the registry as it was."""
    registry = Registry(tmp_path / "registry")
    folder = make_artifact()
    with pytest.raises(RegistryError, match="'v1'"):
        registry.publish(folder, "v2")
    (folder / "student.onnx").write_bytes(b"tampered")
    with pytest.raises(ArtifactError, match="hash-mismatch"):
        registry.publish(folder, "v1")
    assert registry.versions() == []


def test_a_folder_without_manifest_is_no_version(make_artifact: Make, tmp_path: Path) -> None:
    """What a broken publication left behind is invisible, and can be published over."""
    registry = Registry(tmp_path / "registry")
    folder = make_artifact()
    url = registry.publish(folder, "v1")
    (tmp_path / "registry" / "v1" / "manifest.json").unlink()
    assert registry.versions() == []
    with pytest.raises(RegistryError, match="no version"):
        registry.manifest_sha256(url)
    assert registry.publish(folder, "v1") == url
    assert registry.versions() == ["v1"]
