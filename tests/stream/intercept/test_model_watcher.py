"""Which artifact serves, whatever is announced."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import pytest

from models.artifact.scorer import ScoringError
from models.settings import Settings
from stream.intercept.candidates import Candidate
from stream.intercept.loaded_model import LoadedModel
from tests.stream.intercept.watched import SHA, Watched, announcement, publish, send, until
from tests.tiny_artifact import Make


def hostile(settings: Settings, good: bytes) -> list[bytes | None]:
    """Announcements that must not serve, must not end the watcher, and must not stall it."""
    registry = Path(settings.model.registry)
    version = json.loads(good)
    folder = registry / "pipe"
    folder.mkdir()
    os.mkfifo(folder / "manifest.json")
    (registry / "endless").mkdir()
    (registry / "endless" / "manifest.json").symlink_to("/dev/zero")
    (registry / "large").mkdir()
    (registry / "large" / "manifest.json").touch()
    os.truncate(registry / "large" / "manifest.json", 1 << 33)
    urls = [
        "zip::x", "tar::x", "generic::x", "ftp://127.0.0.1:1/x", "http://127.0.0.1:1/x",
        "simplecache::http://127.0.0.1:1/x", "data:application/json,{}", "/etc", "",
        f"{registry}/..", f"{registry}/../artifact", f"{registry}/nothing", "\x00", "::", "a::b::c",
        f"{registry}/pipe", f"{registry}/endless", f"{registry}/large",
    ]  # fmt: skip
    return [
        None,
        b"",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"version":' + b"[" * 5000,
        b'{"metrics":' + b'{"a":' * 5000,
        *(announcement("v9", url, SHA) for url in urls),
        announcement("v" * 1_000_000, version["url"], version["manifest_sha256"]),
        announcement("v1\n", version["url"], version["manifest_sha256"]),
        announcement("other", version["url"], version["manifest_sha256"]),
        announcement("v1", version["url"], ""),
        announcement("v1", version["url"], "0" * 64 + "\n"),
        announcement("v1", version["url"], version["manifest_sha256"].upper()),
        announcement("v1", version["url"], version["manifest_sha256"], ts=10**400),
        json.dumps({"version": "v1", "url": version["url"], "ts": 1}).encode(),
    ]


@pytest.mark.broker
async def test_hostile_announcements_are_refused_and_counted(
    tiny_settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """None serves or ends the watcher, each is counted with its coordinates; a good one serves."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero"))})
    good = publish(settings, make_artifact("one", version="v1"), "v1")
    bad = hostile(settings, good)
    async with Watched(settings) as watched:
        assert watched.versions == ["v1"]  # the configured one, whose manifest says v1, too
        for value in bad:
            await send(settings, value)
        topic = settings.topics.models
        await until(lambda: watched.count("weir_refused_messages_total", topic=topic) == len(bad))
        assert watched.versions == ["v1"]
        await send(settings, publish(settings, make_artifact("two", version="v2"), "v2"))
        await until(lambda: watched.versions == ["v1", "v2"])
    assert f"{topic}[0]@0: announcement ignored" in caplog.text
    assert "outside-registry" in caplog.text
    assert max(len(line) for line in caplog.text.splitlines()) < 2000
    assert "Traceback" not in caplog.text


@pytest.mark.broker
async def test_a_start_goes_back_to_the_newest_that_can_serve(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """What the topic holds is tried from its end, before the configured artifact."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    for version in ("v1", "v2"):
        await send(settings, publish(settings, make_artifact(version, version=version), version))
    damaged = json.loads(publish(settings, make_artifact("v3", version="v3"), "v3"))
    with (Path(damaged["url"]) / "student.onnx").open("r+b") as file:
        file.write(b"\xff")
    await send(settings, json.dumps(damaged).encode(), announcement("v4", "/etc", SHA), b"{")
    async with Watched(settings) as watched:
        assert watched.versions == ["v2"]
        assert watched.refused("hash-mismatch") == 1
        assert watched.refused("outside-registry") == 1
    lost = settings.override({"model.registry": str(tmp_path / "moved")})
    async with Watched(lost) as watched:
        assert watched.versions == ["v0"]
    none = lost.override({"model.artifact": str(tmp_path / "absent")})
    async with Watched(none) as watched:
        assert watched.versions == []
        assert watched.count("weir_fail_open") == 1


@pytest.mark.broker
async def test_a_version_that_comes_late_serves_when_it_is_there(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """An announcement that is ahead of its folder is tried again."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    registry = Path(settings.model.registry)
    made = publish(settings, make_artifact("one", version="v1"), "v1")
    (registry / "v1").rename(registry / "aside")
    await send(settings, made)
    async with Watched(settings) as watched:
        assert watched.versions == ["v0"]
        (registry / "aside").rename(registry / "v1")
        await until(lambda: watched.versions == ["v0", "v1"])
        assert watched.refused("missing-file") == 1


@pytest.mark.broker
async def test_what_fails_is_taken_back_and_not_tried_again(
    tiny_settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The model before it takes over, then none; only a new announcement brings it back."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    made = publish(settings, make_artifact("one", version="v1"), "v1")
    error = ScoringError("NaN")
    async with Watched(settings) as watched:
        (first,) = watched.installed
        first.proven = True
        await send(settings, made)
        await until(lambda: watched.versions == ["v0", "v1"])
        assert watched.watcher.failed(watched.installed[1], error) is first
        assert watched.count("weir_model_info", version="v0", role="serve") == 1
        assert watched.count("weir_fail_open") == 0
        assert watched.watcher.failed(first, error) is None
        assert watched.count("weir_fail_open") == 1
        assert watched.refused("failed") == 2
        await send(settings, b"{")
        topic = settings.topics.models
        await until(lambda: watched.count("weir_refused_messages_total", topic=topic) >= 2)
        assert watched.versions == ["v0", "v1"]
        await send(settings, made)
        await until(lambda: watched.versions == ["v0", "v1", "v1"])
        assert watched.count("weir_fail_open") == 0
    assert "refused (failed), v0 serves" in caplog.text
    assert "refused (failed), FAIL OPEN" in caplog.text


@pytest.mark.broker
async def test_a_model_that_never_scored_is_nothing_to_go_back_to(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """Of two swaps without a request between them, the first is passed over."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    async with Watched(settings) as watched:
        watched.installed[0].proven = True
        for version in ("v1", "v2"):
            folder = make_artifact(version, version=version)
            await send(settings, publish(settings, folder, version))
            await until(lambda version=version: watched.versions[-1] == version)
        back = watched.watcher.failed(watched.installed[-1], ScoringError("NaN"))
        assert back is watched.installed[0]


@pytest.mark.broker
async def test_a_hanging_registry_does_not_hold_up_the_end(
    tiny_settings: Settings, make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an artifact is being read for ever, the worker works on, and ends when asked."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    hang, begun = threading.Event(), threading.Event()
    async with Watched(settings) as watched:

        def load(*_arguments: object) -> LoadedModel:
            begun.set()
            hang.wait()
            raise AssertionError

        monkeypatch.setattr("stream.intercept.model_watcher.load_candidate", load)
        await send(settings, publish(settings, make_artifact("one", version="v1"), "v1"))
        await until(begun.is_set)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 30
    assert watched.versions == ["v0"]
    assert all(t.daemon for t in threading.enumerate() if t.name.startswith("weir-"))
    hang.set()


def test_an_error_of_any_kind_is_that_candidates(
    tiny_settings: Settings, make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody thought of is a refusal, too."""
    watched = Watched(tiny_settings)

    def load(*_arguments: object) -> LoadedModel:
        raise ZeroDivisionError("x" * 10_000)

    monkeypatch.setattr("stream.intercept.model_watcher.load_candidate", load)
    asyncio.run(watched.watcher._try(Candidate("anywhere")))
    assert watched.installed == []
    assert watched.refused("untried") == 1
