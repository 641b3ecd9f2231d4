import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifact import ArtifactError, ArtifactFault, load_artifact
from models.artifact.folder import FolderError
from models.artifact.registry import Registry, RegistryError

Make = Callable[..., Path]


@pytest.mark.parametrize("memory", [False, True])
def test_versions_come_back_as_published(make_artifact: Make, tmp_path: Path, memory: bool) -> None:
    """A published version loads from its URL under its announced hash."""
    registry = Registry(f"memory://{tmp_path.name}" if memory else tmp_path / "registry")
    assert registry.versions() == []
    one, two = make_artifact("one", version="b"), make_artifact("two", version="a")
    url = registry.publish(one, "b")
    registry.publish(two, "a")
    assert registry.versions() == ["a", "b"]
    artifact = load_artifact(url, registry.manifest_sha256(url))
    assert artifact.manifest == load_artifact(one).manifest
    assert artifact.onnx == (one / "student.onnx").read_bytes()


def test_a_version_is_published_once(make_artifact: Make, tmp_path: Path) -> None:
    """The same content again changes nothing; other content under the same name is refused."""
    registry = Registry(tmp_path / "registry")
    folder, other = make_artifact("one"), make_artifact("two", seed=5)
    url = registry.publish(folder, "v1")
    assert registry.publish(folder, "v1") == url
    with pytest.raises(RegistryError, match="other content"):
        registry.publish(other, "v1")
    assert load_artifact(url).manifest.seed == 0


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


OUTSIDE = [
    "",
    "/",
    "/etc",
    "v1",
    "{registry}",
    "{registry}/",
    "{registry}/..",
    "{registry}/../outside",
    "{registry}/v1/../../outside",
    "{registry}/./v1",
    "{registry}//v1",
    "{registry}/v1/.hidden",
    "{registry}/%2e%2e/outside",
    "{registry}/v1?x",
    "{registry}/v1#x",
    "{registry}/v1\n",
    "{registry}/v\x00",
    "{registry}/" + "v" * 200,
    "{registry}x/v1",
    "simplecache::{registry}/v1",
    "simplecache::file://{registry}/v1",
    "zip://v1::{registry}/v1",
    "{registry}/v1::x",
    "zip::x",
    "tar::x",
    "generic::x",
    "ftp://127.0.0.1/v1",
    "http://127.0.0.1{registry}/v1",
    "data:application/json,{{}}",
    "local:/{registry}/v1",
    "memory://{registry}/v1",
    "pretrained:openrtb",
]


@pytest.mark.parametrize("url", OUTSIDE)
def test_nothing_outside_the_registry_is_fetched(
    make_artifact: Make, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another protocol, a chain, a way up, the folder itself: refused before anything is opened."""
    registry = Registry(tmp_path / "registry")
    digest = registry.manifest_sha256(registry.publish(make_artifact(), "v1"))
    shutil.copytree(tmp_path / "registry" / "v1", tmp_path / "outside")
    monkeypatch.setattr(
        "models.artifact.registry.fetch_artifact", lambda *_args: pytest.fail("fetched")
    )
    with pytest.raises(ArtifactError) as caught:
        registry.fetch(url.format(registry=tmp_path / "registry"), digest)
    assert caught.value.code == ArtifactFault.OUTSIDE_REGISTRY


def test_every_spelling_of_the_registry_is_below_it(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative or absolute, through a link, with a protocol, and in folders of its own."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    digest = Registry("real/team").manifest_sha256(
        Registry("real/team").publish(make_artifact(), "v1")
    )
    for configured in ("link", "./link", f"{tmp_path}/link/", f"file://{tmp_path}/link"):
        registry = Registry(configured)
        for base in (configured.rstrip("/"), f"{tmp_path}/link", f"{tmp_path}/real"):
            for url in (f"{base}/team/v1", f"{base}/team/v1/"):
                assert registry.fetch(url, digest).manifest.version == "v1"
        assert registry.fetch(f"file://{tmp_path}/link/team/v1", digest).manifest.version == "v1"


@pytest.mark.parametrize("configured", ["", "/", "memory://"])
def test_a_registry_that_is_everything_is_none(configured: str) -> None:
    """With no folder of its own, nothing lies below it."""
    for url in ("/etc/hostname", "memory:///etc", "etc"):
        with pytest.raises(ArtifactError, match="outside-registry"):
            Registry(configured).below(url)


def test_links_out_of_the_registry_are_not_followed(make_artifact: Make, tmp_path: Path) -> None:
    """Neither a version nor a file of one may be a link to somewhere else."""
    registry = Registry(tmp_path / "registry")
    url = registry.publish(make_artifact(), "v1")
    digest = registry.manifest_sha256(url)
    outside = tmp_path / "outside"
    shutil.copytree(tmp_path / "registry" / "v1", outside)
    (tmp_path / "registry" / "v2").symlink_to(outside)
    for name in ("manifest.json", "student.onnx"):
        (tmp_path / "registry" / "v1" / name).unlink()
        (tmp_path / "registry" / "v1" / name).symlink_to(outside / name)
    for version in ("v1", "v2"):
        with pytest.raises(ArtifactError) as caught:
            registry.fetch(f"{registry.url}/{version}", digest)
        assert caught.value.code == ArtifactFault.NOT_A_FILE


def test_garbage_in_the_registry_is_not_published_over(make_artifact: Make, tmp_path: Path) -> None:
    """A manifest that is not one, endless, a pipe or a folder is an error, and nothing hangs."""
    registry = Registry(tmp_path / "registry")
    for name in ("text", "pipe", "large", "folder"):
        (tmp_path / "registry" / name).mkdir(parents=True)
    (tmp_path / "registry" / "text" / "manifest.json").write_text("[" * 5000)
    os.mkfifo(tmp_path / "registry" / "pipe" / "manifest.json")
    (tmp_path / "registry" / "large" / "manifest.json").touch()
    os.truncate(tmp_path / "registry" / "large" / "manifest.json", 1 << 30)
    (tmp_path / "registry" / "folder" / "manifest.json").mkdir()
    assert registry.versions() == ["folder", "large", "pipe", "text"]
    for name in registry.versions():
        with pytest.raises((RegistryError, FolderError), match=name):
            registry.publish(make_artifact(name, version=name), name)


def test_a_version_is_removed_as_a_whole(make_artifact: Make, tmp_path: Path) -> None:
    """Others stay, and a name that is none of a version removes nothing."""
    registry = Registry(tmp_path / "registry")
    for version in ("v1", "v2"):
        registry.publish(make_artifact(version, version=version), version)
    size = registry.size("v1")
    assert size == sum(file.stat().st_size for file in (tmp_path / "registry" / "v1").iterdir())
    registry.remove("v1")
    assert registry.versions() == ["v2"]
    assert not (tmp_path / "registry" / "v1").exists()
    (tmp_path / "registry" / "notes").mkdir()
    for name in ("v1", "notes", "..", "../registry", "", "v2/..", "."):
        with pytest.raises(RegistryError, match="is published"):
            registry.remove(name)
    assert (tmp_path / "registry" / "notes").is_dir()
    assert registry.versions() == ["v2"]


def test_a_link_in_the_registry_is_not_followed_by_removal(
    make_artifact: Make, tmp_path: Path
) -> None:
    """What it leads to stays."""
    registry = Registry(tmp_path / "registry")
    (tmp_path / "registry").mkdir()
    outside = make_artifact("outside", version="v1")
    (tmp_path / "registry" / "v1").symlink_to(outside)
    with pytest.raises(RegistryError, match="is a link"):
        registry.remove("v1")
    assert sorted(file.name for file in outside.iterdir()) == sorted(
        ["card.html", "features.toml", "manifest.json", "student.onnx"]
    )
