"""Worker processes over a real broker, requests for them, and their metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.kafka.client import client_options
from stream.metrics.scrape import WorkerSample, scrape
from stream.transport import ChunkSink, Outgoing
from stream.verify.account import Fate
from stream.verify.rate import Observed
from stream.verify.verifier import account
from tests.tiny_artifact import TASKS, Make

DEADLINE_S = 120.0


@pytest.fixture
def tiny(settings: Settings, make_artifact: Make) -> Settings:
    """Settings for the tiny artifact's two tasks; requests name a scenario."""
    return Settings(
        **{
            **settings.model_dump(),
            "tasks": [task.model_dump() for task in TASKS],
            "model": {"artifact": str(make_artifact())},
            "policy": {
                "rate": 0.5,
                "weights": {"click": 1.0},
                "uncertainty_source": "own",
                "scenario_path": "site.publisher.id",
                "scenarios": {"strict": {"rate": 0.9}},
            },
        }
    )


@asynccontextmanager
async def worker(
    settings: Settings, folder: Path, name: str
) -> AsyncIterator[tuple[ChildProcess, int]]:
    port = free_port()
    mine = settings.override({"worker.metrics_port": port})
    child = ChildProcess(name, ["worker"], folder / f"{name}.log", mine.environment())
    async with child:
        yield child, port


async def publish(settings: Settings, start: int, count: int, publisher: str = "any") -> None:
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(settings.kafka.partitions):
            rows = []
            for i in range(start + partition, start + count, settings.kafka.partitions):
                site = {"id": f"s{i % 41}", "publisher": {"id": publisher}}
                body = orjson.dumps({"id": f"r{i}", "imp": [{}], "site": site})
                rows.append(Outgoing(b"%d" % i, body, 1_700_000_000_000 + i, ()))
            await sink.send(settings.topics.requests, partition, rows)


async def sample_of(port: int) -> WorkerSample | None:
    return (await scrape([port])).get(port)


async def until(
    child: ChildProcess, port: int, done: Callable[[WorkerSample], bool]
) -> WorkerSample:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        child.check()
        sample = await sample_of(port)
        if sample is not None and done(sample):
            return sample
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s; log:\n{child.log.read_text()}")


async def produce(settings: Settings, topic: str, key: str, value: bytes) -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        await producer.send_and_wait(topic, value, key=key.encode(), partition=0)


async def blocked_share(settings: Settings, after: int) -> float:
    observed = Observed()
    found = await account(settings, observed)
    fate_N = observed.in_order(found.fates)[after:]
    return float((fate_N == Fate.BLOCKED).sum() / len(fate_N))
