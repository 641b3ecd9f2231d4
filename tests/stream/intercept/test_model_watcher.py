"""Which artifact serves, whatever is announced."""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.artifact import Artifact, ArtifactError, ArtifactFiles, open_artifact
from models.artifact.registry import Registry
from models.artifact.scorer import ScoringError
from models.settings import Settings
from models.tasks import TaskSet
from stream.intercept.candidates import Candidate
from stream.intercept.challengers import Challenger
from stream.intercept.loaded_model import LoadedModel, load_candidate, load_model
from stream.intercept.model_watcher import ModelWatcher
from stream.kafka.client import client_options
from stream.messages import ModelAnnouncement, ModelRole, RecordError
from stream.metrics.worker import WorkerMetrics
from tests.tiny_artifact import TASKS, Make, tiny_student

DEADLINE_S = 60.0
SHA = "0" * 64


@pytest.fixture
def tiny_settings(settings: Settings) -> Settings:
    """Settings for the tiny artifact's two tasks."""
    tasks = [task.model_dump() for task in TASKS]
    policy = {"rate": 0.5, "weights": {"click": 1.0}, "uncertainty_source": "own"}
    return Settings(**{**settings.model_dump(), "tasks": tasks, "policy": policy})


class Watched:
    """A watcher at work, and what it did."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = WorkerMetrics()
        self.installed: list[LoadedModel] = []
        self.challengers: dict[ModelRole, Challenger | None] = {}
        self.watcher = ModelWatcher(
            settings, self.installed.append, self.challengers.__setitem__, self.metrics
        )

    @property
    def versions(self) -> list[str]:
        return [model.version for model in self.installed]

    def challenger(self, role: ModelRole) -> str:
        """Version of the challenger in force; "" for none."""
        found = self.challengers.get(role)
        return "" if found is None else found.candidate.version

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[Watched]:
    watched = Watched(settings)
    await watched.watcher.start()
    try:
        yield watched
    finally:
        await watched.watcher.stop()


async def send(settings: Settings, *values: bytes | None, key: bytes = b"default") -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka), acks="all") as producer:
        for value in values:
            await producer.send_and_wait(settings.topics.models, value, key=key)


def announcement(version: str, url: str, digest: str, **more: Any) -> bytes:
    doc = {"version": version, "url": url, "manifest_sha256": digest, "ts": 1, **more}
    return json.dumps(doc).encode()


def publish(settings: Settings, folder: Path, version: str) -> bytes:
    """Put an artifact into the registry; its announcement."""
    registry = Registry(settings.model.registry)
    url = registry.publish(folder, version)
    return announcement(version, url, registry.manifest_sha256(url))


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


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
    async with watching(settings) as watched:
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
    async with watching(settings) as watched:
        assert watched.versions == ["v2"]
        assert watched.count("weir_model_refusals_total", code="hash-mismatch") == 1
        assert watched.count("weir_model_refusals_total", code="outside-registry") == 1
    lost = settings.override({"model.registry": str(tmp_path / "moved")})
    async with watching(lost) as watched:
        assert watched.versions == ["v0"]
    none = lost.override({"model.artifact": str(tmp_path / "absent")})
    async with watching(none) as watched:
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
    async with watching(settings) as watched:
        assert watched.versions == ["v0"]
        (registry / "aside").rename(registry / "v1")
        await until(lambda: watched.versions == ["v0", "v1"])
        assert watched.count("weir_model_refusals_total", code="missing-file") == 1


@pytest.mark.broker
async def test_what_fails_is_taken_back_and_not_tried_again(
    tiny_settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The model before it takes over, then none; only a new announcement brings it back."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact("zero", version="v0"))})
    made = publish(settings, make_artifact("one", version="v1"), "v1")
    error = ScoringError("NaN")
    async with watching(settings) as watched:
        (first,) = watched.installed
        first.proven = True
        await send(settings, made)
        await until(lambda: watched.versions == ["v0", "v1"])
        assert watched.watcher.failed(watched.installed[1], error) is first
        assert watched.count("weir_model_info", version="v0", role="serve") == 1
        assert watched.count("weir_fail_open") == 0
        assert watched.watcher.failed(first, error) is None
        assert watched.count("weir_fail_open") == 1
        assert watched.count("weir_model_refusals_total", code="failed") == 2
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
    async with watching(settings) as watched:
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
    async with watching(settings) as watched:

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
    assert watched.count("weir_model_refusals_total", code="untried") == 1


def test_tasks_must_be_those_of_the_settings(make_artifact: Make) -> None:
    """An artifact for other tasks is refused before anything of it runs."""
    with pytest.raises(ArtifactError, match="task-mismatch"):
        load_model(str(make_artifact()), TaskSet(TASKS[:1]), Settings())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
URLS = st.text(max_size=60) | st.builds(
    "/".join,
    st.lists(
        st.sampled_from(["registry", "v1", "..", ".", "", "file:", "::", "s3:", "x\x00"]),
        max_size=6,
    ),
)


@hypothesis_settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=200)
    | JSON.map(lambda doc: json.dumps(doc).encode())
    | st.fixed_dictionaries(
        {
            "version": st.sampled_from(["v1", "../v1", ""]) | JSON,
            "url": URLS | JSON,
            "manifest_sha256": st.sampled_from([SHA, "", "x"]) | JSON,
            "ts": st.integers() | JSON,
        },
        optional=dict.fromkeys(
            ("metrics", "by", "cause", "reason", "previous", "surprise"), JSON | st.just("v1")
        ),
    ).map(lambda doc: json.dumps(doc).encode())
)
def test_any_message_is_an_announcement_or_a_refusal(tmp_path: Path, value: bytes) -> None:
    """Whatever is written to the topic ends in one of two errors, and in no other."""
    settings = Settings().override({"model.registry": str(tmp_path / "registry")})
    try:
        candidate = Candidate.announced(ModelAnnouncement.from_bytes(value), ("models", 0, 1))
    except RecordError:
        return
    with pytest.raises(ArtifactError) as caught:
        load_candidate(candidate, settings)
    assert len(str(caught.value)) < 1000


def test_nothing_of_a_bad_artifact_runs_in_this_process(
    make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its spec is parsed nor its model loaded before it has passed in another one."""
    opened: list[str] = []

    def watch(files: ArtifactFiles) -> Artifact:
        opened.append(files.url)
        return open_artifact(files)

    monkeypatch.setattr("stream.intercept.loaded_model.open_artifact", watch)
    settings = Settings(tasks=TASKS, policy={"weights": {"click": 1.0}})
    bad = make_artifact("bad", onnx_bytes=tiny_student(poison=5).SerializeToString())
    with pytest.raises(ArtifactError, match="bad-model"):
        load_model(str(bad), TaskSet(TASKS), settings)
    assert opened == []
    good = make_artifact("good")
    assert load_model(str(good), TaskSet(TASKS), settings).version == "v1"
    assert opened == [str(good)]


def in_role(made: bytes, role: str, share: float = 0.5) -> bytes:
    """The announcement of the same version in another role."""
    return json.dumps(json.loads(made) | {"role": role, "share": share}).encode()


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
    async with watching(settings) as watched:
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
    async with watching(settings) as watched:
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
    async with watching(settings) as watched:
        await send(settings, in_role(publish(settings, bad, "v9"), "canary"))
        await until(lambda: watched.count("weir_model_refusals_total", code="bad-model") == 1)
        await send(settings, in_role(publish(settings, good, "v1"), "canary"))
        await until(lambda: watched.challenger(ModelRole.CANARY) == "v1")
        canary = watched.challengers[ModelRole.CANARY]
        assert canary is not None
        assert canary.model is not None
        back = watched.watcher.failed(canary.model, ScoringError("NaN"))
        assert back is watched.installed[0]
        assert watched.challengers[ModelRole.CANARY] is None
        assert watched.count("weir_model_refusals_total", code="failed") == 1
        assert watched.count("weir_fail_open") == 0
        assert watched.versions == ["v0"]
    assert "refused (failed), v0 serves" in caplog.text
