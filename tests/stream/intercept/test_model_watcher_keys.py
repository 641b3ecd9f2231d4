"""What a worker loads once keys are configured, and from a folder that was announced."""

from pathlib import Path

import pytest

from models.artifact.registry import Registry
from models.artifact.signature import KeyFileError, make_keys
from models.settings import Settings
from stream.messages import ModelAnnouncement, ModelRole
from stream.messages.models_topic import announce
from tests.stream.intercept.watched import Watched, until
from tests.tiny_artifact import Make


@pytest.fixture
def tiny_settings(tiny_settings: Settings, make_artifact: Make) -> Settings:
    """The tiny artifact's settings; v0 is configured."""
    return tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})


async def announced(
    settings: Settings, version: str, digest: str = "", role: ModelRole = ModelRole.SERVE
) -> None:
    registry = Registry(settings.model.registry)
    url = registry.url_of(version)
    digest = digest or registry.manifest_sha256(url)
    await announce(settings, ModelAnnouncement(version, url, digest, 1, role=role))


@pytest.mark.broker
async def test_only_signed_versions_serve(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """One without a signature, and one by another key, until it is signed or the key is added."""
    for name in ("ours", "theirs"):
        make_keys(tmp_path / name)
    keys = tmp_path / "keys"
    keys.write_bytes((tmp_path / "ours.pub").read_bytes())
    settings = tiny_settings.override({"model.public_key": str(keys)})
    for version, signer in (("v1", ""), ("v2", "theirs"), ("v3", "ours")):
        key = str(tmp_path / signer) if signer else ""
        model = settings.model.model_copy(update={"signing_key": key, "public_key": ""})
        folder = make_artifact(version, version=version)
        Registry.of(model, signing=True).publish(folder, version)
    async with Watched(settings) as watched:
        assert watched.versions == []  # v0 is not signed either
        assert watched.refused("unsigned") == 1
        await announced(settings, "v1")
        await until(lambda: watched.refused("unsigned") == 2)
        await announced(settings, "v2")
        await until(lambda: watched.refused("bad-signature") == 1)
        await announced(settings, "v3")
        await until(lambda: watched.versions == ["v3"])
        await announced(settings, "v1", role=ModelRole.CANARY)
        await until(lambda: watched.refused("unsigned") == 3)
        assert watched.challengers.get(ModelRole.CANARY) is None
        await announced(settings, "v2")
        await until(lambda: watched.refused("bad-signature") == 2)
        keys.write_bytes(keys.read_bytes() + (tmp_path / "theirs.pub").read_bytes())
        await until(lambda: watched.versions == ["v3", "v2"])


@pytest.mark.broker
async def test_a_configured_folder_that_was_announced_must_have_that_hash(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """A folder of the registry that changed after its announcement does not come in by the start.

    An announcement with a hash that it never had does not keep it out, beside the true one.
    """
    registry = Registry(tiny_settings.model.registry)
    url = registry.publish(make_artifact("one", version="v1"), "v1")
    settings = tiny_settings.override({"model.artifact": url})
    await announced(settings, "v1")
    await announced(settings, "v1", "0" * 64)
    async with Watched(settings) as watched:
        assert watched.versions == ["v1"]
    registry.remove("v1")
    registry.publish(make_artifact("two", version="v1", seed=5), "v1")
    async with Watched(settings) as watched:
        assert watched.versions == []
        assert watched.refused("hash-mismatch") == 3


def test_a_key_that_cannot_be_read_ends_the_worker_at_its_start(tmp_path: Path) -> None:
    """It would refuse every version, and the mistake is one of the settings."""
    settings = Settings().override({"model.public_key": str(tmp_path / "absent")})
    with pytest.raises(KeyFileError, match=r"model\.public_key: .*absent"):
        Watched(settings)
