"""Workers with journals over a real broker, requests for them, and a journal cut on purpose."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer

from models.artifact.registry import Registry
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.journal.blocks import BlockWriter
from stream.kafka.client import client_options
from stream.kafka.reader import TopicReader, read_topic
from stream.kafka.topics import ensure_topics
from stream.messages import Cause, ModelAnnouncement, ModelRole
from stream.messages.journal import BatchDecided, Entry, write_entries, write_entry
from stream.messages.models_topic import announce
from stream.reproduce.journals import find_journals, read_journal
from stream.transport import ChunkSink, Outgoing
from tests.tiny_artifact import TASKS

DEADLINE_S = 120.0


def journaled(settings: Settings, artifact: Path) -> Settings:
    """Settings whose decisions depend on as much as they can: debts, scenarios, draws, windows."""
    return Settings(
        **{
            **settings.model_dump(),
            "tasks": [task.model_dump() for task in TASKS],
            "model": {"artifact": str(artifact), "registry": settings.model.registry},
            "policy": {
                "rate": 0.5,
                "explore": 0.05,
                "weights": {"click": 1.0},
                "uncertainty_source": "own",
                "confidence": "pass-uncertain",
                "direct_share": 0.05,
                "scenario_path": "site.publisher.id",
                "scenarios": {"strict": {"rate": 0.9}},
                "window": {"requests": 2000, "seconds": 60},
            },
            "worker": {
                "guarantee": settings.worker.guarantee,
                "journal": True,
                "max_chunk_records": 700,
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


async def publish(settings: Settings, start: int, count: int) -> None:
    """Requests over all partitions, at uneven times, a few of them broken, of two scenarios."""
    async with ChunkSink(client_options(settings.kafka)) as sink:
        now_ms = time.time_ns() // 10**6
        for partition in range(settings.kafka.partitions):
            rows = []
            for i in range(start + partition, start + count, settings.kafka.partitions):
                value = b"{broken" if i % 97 == 0 else request(i)
                rows.append(Outgoing(b"%d" % i, value, now_ms + i % 1009, ()))
            await sink.send(settings.topics.requests, partition, rows)


def request(i: int) -> bytes:
    site = {"id": f"s{i * 7 % 41}", "publisher": {"id": "strict" if i % 5 == 0 else "any"}}
    segments = [{"id": f"t{i % 13}"}, {"id": f"t{i % 7}"}][: i % 3]
    body = {"id": f"r{i}", "imp": [{}], "site": site, "user": {"data": [{"segment": segments}]}}
    return orjson.dumps(body)


async def reading(child: ChildProcess) -> None:
    """Wait until a worker has partitions."""
    deadline = time.monotonic() + DEADLINE_S
    while "consumer: reading" not in child.log.read_text():
        child.check()
        assert time.monotonic() < deadline, child.log.read_text()
        await asyncio.sleep(0.1)


async def written(settings: Settings, least: int) -> None:
    """Wait until so many requests have an output."""
    deadline, found = time.monotonic() + DEADLINE_S, 0
    topics = settings.topics
    while found < least:
        assert time.monotonic() < deadline, f"{found} of {least}"
        await asyncio.sleep(1.0)
        sources = set()
        for topic in (topics.passed, topics.blocked, topics.rejected):
            async for record in read_topic(settings.kafka, topic):
                sources.add((record.key, record.partition))
        found = len(sources)


async def in_a_journal(settings: Settings) -> None:
    """Wait until a journal has a batch of decisions."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        async with TopicReader(settings.kafka, settings.topics.journal) as reader:
            journals, _ = await find_journals(reader)
            for journal in journals:
                async for entry in read_journal(reader, journal):
                    if isinstance(entry, BatchDecided):
                        return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{settings.topics.journal}: no batch within {DEADLINE_S} s")


async def change(settings: Settings, scenario: str, values: dict[str, object]) -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        await producer.send_and_wait(
            settings.topics.control, orjson.dumps(values), key=scenario.encode(), partition=0
        )


def released(settings: Settings, folder: Path, version: str) -> ModelAnnouncement:
    """A version in the registry."""
    registry = Registry(settings.model.registry)
    url = registry.publish(folder, version)
    return ModelAnnouncement(version, url, registry.manifest_sha256(url), 1)


async def announced(
    settings: Settings, model: ModelAnnouncement, role: ModelRole = ModelRole.SERVE
) -> None:
    fields = {name: getattr(model, name) for name in model.__struct_fields__}
    changes = {"ts": time.time_ns() // 10**6, "role": role, "share": 0.5, "cause": Cause.PROMOTE}
    await announce(settings, ModelAnnouncement(**fields | changes))


async def rewritten(
    settings: Settings, change: Callable[[int, list[Entry]], list[Entry]], suffix: str
) -> Settings:
    """Copy all journals to another topic, changed; returns settings with that topic.

    Args:
        settings: Where they are.
        change: Makes the entries of the copy from those of a worker, given its number.
        suffix: Of the name of the other topic.
    """
    other = settings.override({"topics.journal": f"{settings.topics.journal}-{suffix}"})
    await ensure_topics(other.kafka, other.topics)
    async with (
        TopicReader(settings.kafka, settings.topics.journal) as reader,
        AIOKafkaProducer(**client_options(settings.kafka)) as producer,
    ):
        journals, _ = await find_journals(reader)
        for number, journal in enumerate(journals):
            entries = [entry async for entry in read_journal(reader, journal)]
            kept = list(map(write_entry, change(number, entries)))
            for block in BlockWriter().blocks(write_entries(kept)):
                await producer.send_and_wait(
                    other.topics.journal, block, key=journal.worker.encode()
                )
    return other
