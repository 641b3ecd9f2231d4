"""Which artifact a rebuild starts from, whatever is announced."""

from pathlib import Path

import pytest

from models.artifact import ArtifactError
from models.artifact.registry import Registry
from models.artifact.signature import KeyFileError, make_keys
from models.settings import Settings
from stream.messages import ModelAnnouncement
from tests.tiny_artifact import TASKS, Make, tiny_student
from trainer.pipeline.incumbent import Incumbent


@pytest.fixture
def settings(make_artifact: Make, tmp_path: Path) -> Settings:
    model = {"artifact": str(make_artifact("v0", version="v0")), "registry": str(tmp_path / "r")}
    return Settings(tasks=TASKS, policy={"weights": {"click": 1.0}}, model=model)


def announced(settings: Settings, folder: Path) -> ModelAnnouncement:
    registry = Registry(settings.model.registry)
    url = registry.publish(folder, folder.name)
    return ModelAnnouncement(folder.name, url, registry.manifest_sha256(url), 1)


def test_the_newest_announced_artifact_that_can_serve_is_it(
    settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad ones after it change nothing: outside, changed, for other tasks, or failing its trial."""
    incumbent = Incumbent(settings)
    assert incumbent.load().manifest.version == "v0"
    good = announced(settings, make_artifact("v1", version="v1"))
    incumbent.announce(good)
    assert incumbent.load().manifest_sha256 == good.manifest_sha256
    sick = tiny_student(poison=5).SerializeToString()
    others = make_artifact(
        "v3", version="v3", onnx_bytes=tiny_student(tasks=1).SerializeToString(), tasks=TASKS[:1]
    )
    for bad in (
        ModelAnnouncement("v9", "/etc", "0" * 64, 1),
        ModelAnnouncement("v1", good.url, "0" * 64, 1),
        announced(settings, make_artifact("v2", version="v2", onnx_bytes=sick)),
        announced(settings, others),
    ):
        incumbent.announce(bad)
    assert incumbent.load().manifest.version == "v1"
    for code in ("outside-registry", "hash-mismatch", "bad-model", "task-mismatch"):
        assert code in caplog.text


def test_without_any_a_rebuild_cannot_begin(settings: Settings) -> None:
    """The error is that of the configured artifact."""
    with pytest.raises(ArtifactError, match="missing-file"):
        Incumbent(settings.override({"model.artifact": "/nowhere"})).load()


def test_the_configured_artifact_must_be_what_was_announced(
    settings: Settings, make_artifact: Make
) -> None:
    """A folder of the registry that was announced, and replaced since, is no incumbent."""
    made = announced(settings, make_artifact("v1", version="v1"))
    settings = settings.override({"model.artifact": made.url})
    incumbent = Incumbent(settings)
    incumbent.announce(made)
    assert incumbent.load().manifest_sha256 == made.manifest_sha256
    Registry(settings.model.registry).remove("v1")
    changed = make_artifact("changed", version="v1", seed=5)
    Registry(settings.model.registry).publish(changed, "v1")
    with pytest.raises(ArtifactError, match=r"hash-mismatch: .*announced with another one"):
        incumbent.load()


def test_an_incumbent_is_signed_where_a_key_is_configured(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """As for workers; what is not signed is not compared with."""
    make_keys(tmp_path / "key")
    keyed = settings.override(
        {
            "model.artifact": "pretrained:openrtb",
            "model.signing_key": str(tmp_path / "key"),
            "model.public_key": str(tmp_path / "key.pub"),
        }
    )
    incumbent = Incumbent(keyed)
    incumbent.announce(announced(settings, make_artifact("v1", version="v1")))
    assert incumbent.load().url.endswith("openrtb")
    Registry.of(keyed.model, signing=True).sign("v1")
    assert incumbent.load().manifest.version == "v1"
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Incumbent(keyed)
