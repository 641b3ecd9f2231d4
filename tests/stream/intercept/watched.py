"""A model watcher at work, and what it is sent."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaProducer

from models.artifact.registry import Registry
from models.settings import Settings
from stream.intercept.challengers import Challenger
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.model_watcher import ModelWatcher
from stream.kafka.client import client_options
from stream.messages import ModelRole
from stream.metrics.worker import WorkerMetrics

DEADLINE_S = 60.0
SHA = "0" * 64


class Watched:
    """A watcher at work, and what it did."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = WorkerMetrics()
        self.installed: list[LoadedModel] = []
        self.challengers: dict[ModelRole, Challenger | None] = {}
        self.watcher = ModelWatcher(
            settings, self.installed.append, self.challengers.__setitem__, self.metrics
        )

    async def __aenter__(self) -> Self:
        await self.watcher.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.watcher.stop()

    @property
    def versions(self) -> list[str]:
        return [model.version for model in self.installed]

    def challenger(self, role: ModelRole) -> str:
        """Version of the challenger in force; "" for none."""
        found = self.challengers.get(role)
        return "" if found is None else found.candidate.version

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def refused(self, code: str) -> float:
        """How many artifacts were refused with this code."""
        return self.count("weir_model_refusals_total", code=code)


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


def in_role(made: bytes, role: str, share: float = 0.5) -> bytes:
    """The announcement of the same version in another role."""
    return json.dumps(json.loads(made) | {"role": role, "share": share}).encode()
