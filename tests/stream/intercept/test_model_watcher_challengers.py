"""Which canary and shadow are in force, whatever is announced."""

import pytest

from models.artifact.scorer import ScoringError
from models.settings import Settings
from stream.messages import ModelRole
from tests.stream.intercept.watched import Watched, in_role, publish, send, until
from tests.tiny_artifact import Make, tiny_student


@pytest.mark.broker
async def test_canary_and_shadow_are_loaded_beside_the_serving_model(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """A newer one replaces an older one; a canary that is promoted is not loaded again."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    made = {
        version: publish(settings, make_artifact(version, version=version), version)
        for version in ("v1", "v2", "v3")
    }
    canary, shadow = ModelRole.CANARY, ModelRole.SHADOW
    async with Watched(settings) as watched:
        await send(settings, in_role(made["v1"], "canary"), in_role(made["v3"], "shadow"))
        await until(lambda: watched.challenger(canary) == "v1")
        await until(lambda: watched.challenger(shadow) == "v3")
        assert watched.versions == ["v0"]
        assert watched.count("weir_model_info", version="v1", role="canary") == 1
        assert watched.count("weir_model_info", version="v3", role="shadow") == 1
        assert watched.count("weir_model_info", version="v0", role="serve") == 1
        await send(settings, in_role(made["v2"], "canary"))
        await until(lambda: watched.challenger(canary) == "v2")
        loaded = watched.challengers[canary]
        assert loaded is not None
        await send(settings, made["v2"])
        await until(lambda: watched.versions == ["v0", "v2"])
        assert watched.installed[1] is loaded.model
        assert watched.challengers == {canary: None, shadow: None}
        assert watched.count("weir_model_info", version="v2", role="canary") == 0
        assert watched.count("weir_model_swaps_total") == 2


@pytest.mark.broker
async def test_a_start_finds_the_challengers_that_are_in_force(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """Those announced after the version that serves, and not those before."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    made = {
        version: publish(settings, make_artifact(version, version=version), version)
        for version in ("v1", "v2", "v3")
    }
    await send(settings, in_role(made["v3"], "shadow"), made["v1"], in_role(made["v2"], "canary"))
    async with Watched(settings) as watched:
        assert watched.versions == ["v1"]
        await until(lambda: watched.challenger(ModelRole.CANARY) == "v2")
        assert watched.challenger(ModelRole.SHADOW) == ""


@pytest.mark.broker
async def test_a_canary_that_fails_or_cannot_be_used_is_refused(
    tiny_settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The serving model goes on; a failed canary is not tried again."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    bad = make_artifact("bad", version="v9", onnx_bytes=tiny_student(poison=5).SerializeToString())
    good = make_artifact("one", version="v1")
    async with Watched(settings) as watched:
        await send(settings, in_role(publish(settings, bad, "v9"), "canary"))
        await until(lambda: watched.refused("bad-model") == 1)
        await send(settings, in_role(publish(settings, good, "v1"), "canary"))
        await until(lambda: watched.challenger(ModelRole.CANARY) == "v1")
        canary = watched.challengers[ModelRole.CANARY]
        assert canary is not None
        assert canary.model is not None
        back = watched.watcher.failed(canary.model, ScoringError("NaN"))
        assert back is watched.installed[0]
        assert watched.challengers[ModelRole.CANARY] is None
        assert watched.refused("failed") == 1
        assert watched.count("weir_fail_open") == 0
        assert watched.versions == ["v0"]
    assert "refused (failed), v0 serves" in caplog.text
