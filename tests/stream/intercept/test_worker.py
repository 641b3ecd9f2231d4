"""Intercept workers as processes of their own, on a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from models.artifact.registry import Registry
from models.features import FeatureSpec
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import Decision, ModelAnnouncement
from stream.metrics.scrape import WorkerSample, scrape
from stream.transport import ChunkSink, Outgoing
from stream.verify.account import Account, Fate, FaultKind
from stream.verify.rate import Observed, achieved_rate
from stream.verify.verifier import account
from tests.tiny_artifact import TASKS, Make, tiny_student

pytestmark = pytest.mark.broker
DEADLINE_S = 40.0


@pytest.fixture
def tiny_settings(settings: Settings) -> Settings:
    """Settings for the tiny artifact's two tasks."""
    tasks = [task.model_dump() for task in TASKS]
    return Settings(
        **{
            **settings.model_dump(),
            "tasks": tasks,
            "policy": {"rate": 0.5, "weights": {"click": 1.0}, "uncertainty_source": "own"},
        }
    )


@asynccontextmanager
async def worker(
    settings: Settings, folder: Path, name: str = "worker"
) -> AsyncIterator[tuple[ChildProcess, int]]:
    port = free_port()
    mine = settings.override({"worker.metrics_port": port})
    child = ChildProcess(name, ["worker"], folder / f"{name}.log", mine.environment())
    async with child:
        yield child, port


async def publish(settings: Settings, start: int, count: int) -> None:
    """Requests with a few broken ones among them, spread over the partitions."""
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(settings.kafka.partitions):
            rows = [
                Outgoing(b"%d" % i, value(i), 1_700_000_000_000 + i, ())
                for i in range(start + partition, start + count, settings.kafka.partitions)
            ]
            await sink.send(settings.topics.requests, partition, rows)


def value(i: int) -> bytes:
    if i % 97 == 0:
        return b"{broken"
    return orjson.dumps({"id": f"r{i}", "imp": [{}], "site": {"id": f"s{i % 41}"}})


async def until(child: ChildProcess, port: int, done: Callable[[WorkerSample], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        child.check()
        sample = (await scrape([port])).get(port)
        if sample is not None and done(sample):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s; log:\n{child.log.read_text()}")


async def announce(settings: Settings, version: str, url: str, digest: str) -> None:
    message = ModelAnnouncement(version, url, digest, 1).to_bytes()
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    async with producer:
        await producer.send_and_wait(settings.topics.models, message, key=b"default")


async def models_on_pass_topic(settings: Settings) -> list[str]:
    seen: dict[str, None] = {}
    async for record in read_topic(settings.kafka, settings.topics.passed):
        seen[Decision.from_headers(record.headers).model] = None
    return list(seen)


async def test_filters_without_torch_and_stops_when_asked(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Every request comes out once, no library of torch is mapped, and SIGTERM ends it cleanly."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact())})
    await publish(settings, 0, 4000)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 4000)
        maps = Path(f"/proc/{child.pid}/maps").read_text()
        await child.stop()
        assert child.returncode == 0
    assert "onnxruntime" in maps
    assert "torch" not in maps
    observed = Observed()
    found = await account(settings, observed)
    assert found.exact
    assert found.requests == 4000
    fate_N = observed.in_order(found.fates)
    assert achieved_rate(fate_N, warm_up=500) == pytest.approx(0.5, abs=0.02)
    assert observed.models == {"v1": found.count(Fate.PASSED)}


async def test_killed_workers_lose_nothing(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """After kill -9 in the middle of the work a new worker finishes it: at least once."""
    settings = tiny_settings.override(
        {"model.artifact": str(make_artifact()), "worker.max_chunk_records": 50}
    )
    for attempt in range(2):
        await publish(settings, 4000 * attempt, 4000)
        async with worker(settings, tmp_path, f"victim-{attempt}") as (child, port):
            await until(child, port, lambda sample: sample.requests >= 500)
            child.kill()
            await child.wait()
    async with worker(settings, tmp_path) as (child, port):
        found = Account()
        deadline = time.monotonic() + DEADLINE_S
        while (found := await account(settings)).missing and time.monotonic() < deadline:
            child.check()
            await asyncio.sleep(0.2)
    assert (found.requests, found.missing) == (8000, 0)
    assert not found.counts.keys() & {FaultKind.ALTERED, FaultKind.UNKNOWN}


async def test_fails_open_recovers_and_refuses_bad_artifacts(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """No artifact: everything passes; an announced one takes over; a damaged one is refused."""
    settings = tiny_settings.override({"model.artifact": str(tmp_path / "absent")})
    registry = Registry(settings.model.registry)
    first = registry.publish(make_artifact("one", version="v1"), "v1")
    second = registry.publish(make_artifact("two", version="v2"), "v2")
    digests = {url: registry.manifest_sha256(url) for url in (first, second)}
    async with worker(settings, tmp_path) as (child, port):
        await publish(settings, 0, 400)
        await until(child, port, lambda sample: sample.requests == 400 and sample.model == "")
        await announce(settings, "v1", first, digests[first])
        await until(child, port, lambda sample: sample.model == "v1")
        await publish(settings, 400, 400)
        await until(child, port, lambda sample: sample.requests == 800)
        await announce(settings, "v2", second, "0" * 64)
        await until(child, port, lambda _sample: "refused (hash-mismatch)" in child.log.read_text())
        await publish(settings, 800, 400)
        await until(child, port, lambda sample: sample.requests == 1200 and sample.model == "v1")
        await announce(settings, "v2", second, digests[second])
        await until(child, port, lambda sample: sample.model == "v2")
        await publish(settings, 1200, 400)
        await until(child, port, lambda sample: sample.requests == 1600)
        log = child.log.read_text()
    assert "FAIL OPEN" in log
    observed = Observed()
    assert (await account(settings, observed)).exact
    assert observed.reasons["fail-open"] == 400 - 5
    assert sorted(await models_on_pass_topic(settings)) == ["", "v1", "v2"]


LARGE_SPEC = """\
[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 500000

[[feature]]
name = "segments"
kind = "tags"
path = "user.data[*].segment[*].id"
size = 16
slots = 2
"""


def sick_on_one_site(make_artifact: Make, site: str, version: str) -> Path:
    """An artifact that is NaN for one site of so many that no trial finds it."""
    spec = FeatureSpec.parse(LARGE_SPEC, "test")
    poison = int(spec.extractor().extract([{"site": {"id": site}}], np.zeros(1, np.int64))[0, 0])
    student = tiny_student(poison=poison, weights=[1e-7, 1e-7, 1e-7]).SerializeToString()
    return make_artifact(
        version, onnx_bytes=student, spec=LARGE_SPEC, spec_hash=spec.hash, version=version
    )


@pytest.mark.parametrize("before", [True, False])
async def test_a_model_that_fails_at_a_chunk_is_taken_back(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path, before: bool
) -> None:
    """The one before decides that chunk, or all of it passes; no request is lost or doubled."""
    zero = make_artifact("zero", version="v0") if before else tmp_path / "absent"
    settings = tiny_settings.override({"model.artifact": str(zero)})
    registry = Registry(settings.model.registry)
    url = registry.publish(sick_on_one_site(make_artifact, "s40", "v1"), "v1")
    async with worker(settings, tmp_path) as (child, port):
        await publish(settings, 0, 400)  # with site s40
        await until(child, port, lambda sample: sample.requests == 400)
        await announce(settings, "v1", url, registry.manifest_sha256(url))
        await until(child, port, lambda sample: sample.model == "v1")
        await publish(settings, 0, 40)  # without
        await until(child, port, lambda sample: sample.requests == 440)
        await publish(settings, 40, 400)
        old = "v0" if before else ""
        await until(child, port, lambda sample: sample.requests == 840 and sample.model == old)
        await publish(settings, 440, 400)
        await until(child, port, lambda sample: sample.requests == 1240)
        log = child.log.read_text()
    assert ("refused (failed), v0 serves" if before else "refused (failed), FAIL OPEN") in log
    assert (await account(settings)).exact
    assert sorted(await models_on_pass_topic(settings)) == [old, "v1"]
