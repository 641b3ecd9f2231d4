"""Which artifact a rebuild starts from, whatever is announced."""

from pathlib import Path

import pytest

from models.artifact import ArtifactError
from models.artifact.registry import Registry
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
