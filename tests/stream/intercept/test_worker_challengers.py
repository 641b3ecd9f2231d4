"""A worker under traffic while versions become canary, shadow and serving, and go back."""

import asyncio
import time
from collections import defaultdict
from pathlib import Path

import pytest

from models.artifact.registry import Registry
from models.settings import Settings
from stream.kafka.reader import read_topic
from stream.messages import Cause, Decision, ModelAnnouncement, ModelRole
from stream.messages.models_topic import announce
from stream.metrics.scrape import read_metrics
from stream.verify.verifier import account
from tests.stream.intercept import test_worker
from tests.stream.intercept.test_worker import publish, until, worker
from tests.tiny_artifact import Make, tiny_student

pytestmark = pytest.mark.broker
tiny_settings = test_worker.tiny_settings
DEADLINE_S = 60.0


def published(settings: Settings, folder: Path, version: str) -> ModelAnnouncement:
    registry = Registry(settings.model.registry)
    url = registry.publish(folder, version)
    return ModelAnnouncement(version, url, registry.manifest_sha256(url), 1)


async def announced(settings: Settings, model: ModelAnnouncement, **changes: object) -> None:
    fields = {name: getattr(model, name) for name in model.__struct_fields__}
    await announce(
        settings, ModelAnnouncement(**fields | {"ts": time.time_ns() // 10**6} | changes)
    )


async def in_roles(port: int, **versions: str) -> None:
    """Wait until the worker shows these versions, by role."""
    deadline = time.monotonic() + DEADLINE_S
    found: dict[str, str] = {}
    while found != versions:
        assert time.monotonic() < deadline, f"{found}, not {versions}"
        await asyncio.sleep(0.05)
        samples = await asyncio.to_thread(read_metrics, port) or ()
        shown = [s.labels for s in samples if s.name == "weir_model_info"]
        found = {labels["role"]: labels["version"] for labels in shown}


async def partitions_of(settings: Settings, start: int) -> dict[str, set[int]]:
    """The partitions that each version decided, of requests from ``start`` on."""
    found: dict[str, set[int]] = defaultdict(set)
    for topic in (settings.topics.passed, settings.topics.blocked):
        async for record in read_topic(settings.kafka, topic):
            if int(record.key) >= start:
                model = Decision.from_headers(record.headers).model
                found[model].add(record.partition)
    return dict(found)


async def test_canary_promotion_and_rollback_lose_and_double_nothing(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """The canary decides half of the partitions; its promotion all; a rollback none."""
    settings = tiny_settings.override(
        {"model.artifact": str(make_artifact("zero", version="v0")), "kafka.partitions": 4}
    )
    one = published(settings, make_artifact("one", version="v1"), "v1")
    inverted = tiny_student(weights=[-0.1] * 3).SerializeToString()
    two = published(settings, make_artifact("two", version="v2", onnx_bytes=inverted), "v2")
    sent = 0

    async def traffic() -> None:
        nonlocal sent
        await publish(settings, sent, 400)
        sent += 400
        await until(child, port, lambda sample: sample.requests == sent)

    async with worker(settings, tmp_path) as (child, port):
        await announced(settings, one)
        await in_roles(port, serve="v1")
        await traffic()
        assert await partitions_of(settings, 0) == {"v1": {0, 1, 2, 3}}
        await announced(settings, two, role=ModelRole.CANARY, share=0.5)
        await in_roles(port, serve="v1", canary="v2")
        await traffic()
        assert await partitions_of(settings, 400) == {"v1": {1, 3}, "v2": {0, 2}}
        await announced(settings, two, cause=Cause.PROMOTE)
        await in_roles(port, serve="v2")
        await traffic()
        assert await partitions_of(settings, 800) == {"v2": {0, 1, 2, 3}}
        await announced(settings, one, cause=Cause.AUTOMATIC_ROLLBACK, previous="v2")
        await in_roles(port, serve="v1")
        await announced(settings, two, role=ModelRole.SHADOW, share=1.0)
        await in_roles(port, serve="v1", shadow="v2")
        await traffic()
        assert await partitions_of(settings, 1200) == {"v1": {0, 1, 2, 3}}
        samples = await asyncio.to_thread(read_metrics, port) or ()
        shadowed = sum(s.value for s in samples if s.name == "weir_shadow_verdicts_total")
        canaried = sum(s.value for s in samples if s.name == "weir_canary_verdicts_total")
        deadline = time.monotonic() + DEADLINE_S
        while {
            s.labels["version"]: s.value
            for s in await asyncio.to_thread(read_metrics, port) or ()
            if s.name == "weir_model_versions"
        } != {"v1": 4}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    assert canaried == 200 - sum(i % 97 == 0 and i % 4 in {0, 2} for i in range(400, 800))
    assert 10 < shadowed < 100  # a tenth at most, less what came while it was busy
    assert (await account(settings)).exact
