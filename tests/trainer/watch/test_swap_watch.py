"""The watch of a swap: whom it watches, when it looks, and what it announces."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from models.artifact import ArtifactError
from models.artifact.registry import Registry
from models.features import FeatureSpec
from models.settings import Settings
from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.model_history import Announced, ModelHistory
from stream.messages.models_topic import announce, read_history
from tests.tiny_artifact import SPEC_TEXT, TASKS, Make
from tests.trainer.watch.market import CLOSE, START, WRONG, artifact, examples, outcomes, stored
from trainer.watch.look import LookJob, look
from trainer.watch.metrics import WatchMetrics
from trainer.watch.swap_watch import LookError, SwapWatch, look_in_a_child, subject_of
from trainer.watch.verdict import Verdict

ROWS = 6_000


@pytest.fixture
def tiny_settings(settings: Settings) -> Settings:
    """Settings for the tiny artifact's two tasks."""
    return Settings(
        **{
            **settings.model_dump(),
            "tasks": [task.model_dump() for task in TASKS],
            "policy": {"weights": {"click": 1.0}},
        }
    )


async def served(settings: Settings, folder: Path, version: str, **changes: object) -> None:
    """Publish and announce a version, as of the start of the market."""
    registry = Registry(settings.model.registry)
    url = registry.publish(folder, version)
    made = ModelAnnouncement(version, url, registry.manifest_sha256(url), START)
    await announce(settings, msgspec.structs.replace(made, **changes))


class Bench:
    """A watch over a store, and the looks that it had."""

    def __init__(self, settings: Settings, labels: int = ROWS) -> None:
        self.registry = CollectorRegistry()
        self.labels = labels
        self.jobs: list[LookJob] = []
        self.watch = SwapWatch(
            settings,
            WatchMetrics(self.registry),
            lambda _ms: {"click": self.labels, "online": 0},
            look=self.look,
        )

    async def look(self, job: LookJob) -> Verdict:
        """Of the market's rows, which began long before the test's records were written."""
        self.jobs.append(job.model_copy(update={"since_ms": START}))
        return look(self.jobs[-1])

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def market(settings: Settings) -> None:
    made = examples(ROWS)
    stored(Path(settings.trainer.store), made, outcomes(made), START + 100 * ROWS + 10**6)


async def versions(settings: Settings) -> list[str]:
    return [one.version for one in (await read_history(settings)).announced]


@pytest.mark.broker
async def test_a_wrong_version_is_taken_back_once_with_the_evidence(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """The version before serves again; neither is announced again after that."""
    await served(tiny_settings, artifact(make_artifact, "v1"), "v1")
    await served(tiny_settings, artifact(make_artifact, "v2", WRONG), "v2")
    market(tiny_settings)
    bench = Bench(tiny_settings)
    for _ in range(3):
        await bench.watch.check()
        bench.labels *= 2
    history = await read_history(tiny_settings)
    assert [one.version for one in history.announced] == ["v1", "v2", "v1"]
    back = history.announced[-1].announcement
    assert (back.cause, back.previous) == (Cause.AUTOMATIC_ROLLBACK, "v2")
    assert "click" in back.reason
    assert "after 500 passed requests" in back.reason
    assert history.faulty == {"v2"}
    assert len(bench.jobs) == 1
    rollbacks = [
        bench.count("weir_trainer_rollbacks_total", promise=promise)
        for promise in ("calibration", "log-loss", "reward")
    ]
    assert sum(rollbacks) == 1
    again = Bench(tiny_settings)  # a trainer that starts anew
    await again.watch.check()
    assert again.jobs == []


@pytest.mark.broker
async def test_a_good_version_is_watched_to_the_end_and_left(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """Looks become rarer, and end with the last row that is watched."""
    settings = tiny_settings.override({"trainer.watch_rows": ROWS})
    await served(settings, artifact(make_artifact, "v1"), "v1")
    await served(settings, artifact(make_artifact, "v2", CLOSE), "v2")
    market(settings)
    bench = Bench(settings, labels=100)
    await bench.watch.check()
    assert bench.jobs == []  # too few labels
    bench.labels = 600
    await bench.watch.check()
    bench.labels = 1_000
    await bench.watch.check()
    assert len(bench.jobs) == 1
    assert bench.count("weir_trainer_watch_rows") == ROWS
    assert bench.count("weir_trainer_watch_ratio", promise="calibration", task="click") > 0.9
    bench.labels = 10**6
    await bench.watch.check()
    assert len(bench.jobs) == 1  # all were final in the first look
    assert await versions(settings) == ["v1", "v2"]


@pytest.mark.broker
async def test_nothing_to_go_back_to_is_an_alarm(
    tiny_settings: Settings, make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The first version that was ever announced is compared with the configured artifact."""
    configured = artifact(make_artifact, "v0")
    settings = tiny_settings.override({"model.artifact": str(configured)})
    await served(settings, artifact(make_artifact, "v2", WRONG), "v2")
    market(settings)
    bench = Bench(settings)
    await bench.watch.check()
    assert bench.count("weir_trainer_watch_broken") == 1
    assert "nothing was announced before it" in caplog.text
    assert await versions(settings) == ["v2"]
    await served(settings, artifact(make_artifact, "v3"), "v3")
    bench.labels = 0
    await bench.watch.check()
    assert bench.count("weir_trainer_watch_broken") == 0


@pytest.mark.broker
async def test_a_version_that_was_replaced_during_the_look_is_left_alone(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    await served(tiny_settings, artifact(make_artifact, "v1"), "v1")
    await served(tiny_settings, artifact(make_artifact, "v2", WRONG), "v2")
    third = artifact(make_artifact, "v3")
    market(tiny_settings)
    bench = Bench(tiny_settings)
    own = bench.look

    async def slow(job: LookJob) -> Verdict:
        await served(tiny_settings, third, "v3")
        return await own(job)

    bench.watch._look = slow
    await bench.watch.check()
    assert await versions(tiny_settings) == ["v1", "v2", "v3"]


@pytest.mark.broker
async def test_a_look_runs_in_a_process_of_its_own(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    """The verdict is that of the same look here; its errors come back."""
    await served(tiny_settings, artifact(make_artifact, "v1"), "v1")
    await served(tiny_settings, artifact(make_artifact, "v2", WRONG), "v2")
    market(tiny_settings)
    bench = Bench(tiny_settings)
    await bench.watch.check()
    (job,) = bench.jobs
    verdict = await look_in_a_child(job)
    assert verdict == look(job)
    with pytest.raises(LookError, match=r"StoreError|cannot be opened"):
        await look_in_a_child(job.model_copy(update={"store": "/nothing/here"}))


@pytest.mark.broker
async def test_a_failed_look_is_counted_and_repeated(
    tiny_settings: Settings, make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.watch.swap_watch.PERIOD_S", 0.01)
    await served(tiny_settings, artifact(make_artifact, "v1"), "v1")
    await served(tiny_settings, artifact(make_artifact, "v2", WRONG), "v2")
    bench = Bench(tiny_settings)  # without a store
    running = asyncio.create_task(bench.watch.run())
    async with asyncio.timeout(60):
        while bench.count("weir_trainer_watch_errors_total") < 2:
            await asyncio.sleep(0.02)
    running.cancel()
    assert await versions(tiny_settings) == ["v1", "v2"]


@pytest.mark.broker
async def test_versions_with_other_features_cannot_be_compared(
    tiny_settings: Settings, make_artifact: Make
) -> None:
    spec = SPEC_TEXT.replace("site.id", "app.id")
    digest = FeatureSpec.parse(spec, "x").hash
    await served(tiny_settings, artifact(make_artifact, "v1"), "v1")
    other = make_artifact("v2", version="v2", spec=spec, spec_hash=digest)
    await served(tiny_settings, other, "v2")
    with pytest.raises(ArtifactError, match="different feature specs"):
        await Bench(tiny_settings).watch.check()


def history(*rows: tuple[str, Cause, str | None, ModelRole]) -> ModelHistory:
    return ModelHistory(
        [
            Announced(
                ModelAnnouncement(
                    version,
                    f"registry/{version}",
                    "0" * 64,
                    n,
                    cause=cause,
                    previous=before,
                    role=role,
                ),
                0,
                n,
                n,
            )
            for n, (version, cause, before, role) in enumerate(rows)
        ]
    )


def test_who_is_watched() -> None:
    """What serves, unless a rollback brought it back; canaries and shadows are not."""
    serve, canary = ModelRole.SERVE, ModelRole.CANARY
    a, b = ("a", Cause.REBUILD, None, serve), ("b", Cause.REBUILD, "a", serve)

    def found(*rows: tuple[str, Cause, str | None, ModelRole]) -> tuple[str, str | None] | None:
        subject = subject_of(history(*rows), lambda _: True)
        if subject is None:
            return None
        before = subject.before
        return subject.announcement.version, None if before is None else before.version

    assert found() is None
    assert found(a) == ("a", None)
    assert found(a, b) == ("b", "a")
    assert found(a, b, ("c", Cause.REBUILD, "b", canary)) == ("b", "a")
    back = ("a", Cause.AUTOMATIC_ROLLBACK, "b", serve)
    assert found(a, b, back) is None
    assert found(a, b, back, ("c", Cause.REBUILD, "a", serve)) == ("c", "a")
    assert found(a, b, back, ("b", Cause.PROMOTE, "a", serve)) == ("b", "a")
