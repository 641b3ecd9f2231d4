"""One attack: all roles at work, hostile records on every topic with good ones among them.

What must hold: no process ends; every good request comes out once, and every record is accounted
for by the verifier; good outcomes become labels, good steering and a good announcement apply after
all the bad ones; what is refused is counted and logged with its coordinates; memory stays bounded;
and all of it again after a restart, which reads the same topics from where they were.
"""

import asyncio
import contextlib
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl
import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from chaos.hostile.producer import HostileProducer
from chaos.hostile.strategies import (
    NOW_MS,
    Record,
    announcements,
    bid_requests,
    consumption,
    control,
    draw_many,
    examples,
    longest,
    outcomes,
    rate_states,
)
from models.artifact import load_artifact
from models.artifact.registry import Registry
from models.settings import Settings, TopicSettings
from stream.brokers.children import ChildProcess, free_port
from stream.kafka.admin import admin_request
from stream.kafka.client import bounded_consumer, client_options, topic_partitions
from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics
from stream.messages import ModelAnnouncement, Outcome, RecordError, TrainingExample
from stream.verify.account import Account
from stream.verify.verifier import account
from trainer.traffic.campaign import exact_ends

DEADLINE_S: Final = 300.0
"""Within which everything that was written is read, however slow the machine."""
COLUMNS: Final = 121
CLICK_EVERY: Final = 3
"""Every so many-th good request is clicked."""
FINAL_RATE: Final = 0.25
"""What the last, good message on ``control`` asks for."""
MAX_RSS_MB: Final = 512
BLOCK: Final = 500
"""Records written at a time to one partition."""
LAX: Final = {"message.timestamp.after.max.ms": str(2**63 - 1)}
LONGEST_LINE: Final = 6_000
"""Characters of a log line; that of a process is at most 4,096, and a prefix."""
COORDINATES: Final = re.compile(r"\S+\[\d+\]@\d+")


@dataclass
class Report:
    """What was seen.

    Attributes:
        written: Records per topic, good ones among them, that the broker took.
        refused: ``weir_refused_messages_total`` per topic, over all processes and both lives.
        rejects: Dead letters by code.
        peak_mb: Highest resident memory of each process.
        ended: Processes that ended unasked, with the end of their logs.
        stopped: Exit status of each process when it was asked to stop.
        account: The verifier's.
        faults: What is wrong, in words.
        seconds: How long it took.
    """

    written: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    peak_mb: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)
    account: Account | None = None
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def draw_hostile(
    topics: TopicSettings, sound: Sequence[bytes], count: int, seed: int
) -> dict[str, list[Record]]:
    """So many hostile records for each topic, and the longest that brokers take."""
    kinds = {
        topics.requests: bid_requests(list(sound[:50])),
        topics.outcomes: outcomes(),
        topics.examples: examples(COLUMNS),
        topics.control: control(),
        topics.consumption: consumption(),
        topics.rate_state: rate_states(),
        topics.models: announcements(),
    }
    drawn = {
        topic: draw_many(kind, count, seed + 100_000 * number)
        for number, (topic, kind) in enumerate(kinds.items())
    }
    drawn[topics.requests] += longest(sound[0])
    drawn[topics.outcomes] += longest(sound[0])
    return drawn


class Attack:
    """Plays one attack.

    Args:
        settings: Brokers, topics, folders; the topics need not exist.
        artifact: Folder of an artifact for the settings' tasks, announced at the end.
        sound: Values of sound bid requests with ids of their own.
        hostile: Hostile records by topic.
        seed: Everything drawn follows from it.
        folder: Logs go here.
        roles: Commands of the processes, by name.
    """

    def __init__(
        self,
        settings: Settings,
        artifact: Path,
        sound: Sequence[bytes],
        hostile: dict[str, list[Record]],
        seed: int,
        folder: Path,
        roles: dict[str, list[str]],
    ) -> None:
        self._settings = settings
        self._artifact = artifact
        self._sound = sound
        self._hostile = hostile
        self._folder = folder
        self._roles = roles
        self._rng = random.Random(seed)
        self._passed: set[str] = set()
        self.report = Report()

    async def play(self) -> Report:
        """Two lives of the processes, the second without hostile records, then the account."""
        started = time.monotonic()
        settings = self._settings
        await self._create_lax_topics()
        await ensure_topics(settings.kafka, settings.topics)
        announcement = self._publish_artifact()
        hostile = self._hostile
        half = len(self._sound) // 2
        async with HostileProducer(settings.kafka) as self._producer:
            for life, sound in (("first", self._sound[:half]), ("second", self._sound[half:])):
                async with self._processes(life) as children:
                    await self._write(sound, hostile)
                    await self._write_last(announcement)
                    await self._settled(children, announcement.version)
                    await self._write_clicks(sound)
                    await self._settled(children, announcement.version)
                    self._note_metrics(children)
                hostile = {}
        self.report.account = await account(settings)
        await self._judge()
        self.report.seconds = time.monotonic() - started
        return self.report

    async def _create_lax_topics(self) -> None:
        """The topics that are attacked take any timestamp; the outputs do not, as by default."""
        kafka, topics = self._settings.kafka, self._settings.topics
        compacted = {"cleanup.policy": "compact"}
        partitioned = (topics.requests, topics.outcomes, topics.examples)
        wanted = [
            *(NewTopic(name, kafka.partitions, 1, topic_configs=LAX) for name in partitioned),
            NewTopic(topics.consumption, 1, 1, topic_configs=LAX),
            *(
                NewTopic(name, 1, 1, topic_configs=LAX | compacted)
                for name in (topics.control, topics.rate_state, topics.models)
            ),
        ]

        async def question(admin: AIOKafkaAdminClient) -> None:
            await admin.create_topics(wanted)

        await admin_request(client_options(kafka), question)

    def _publish_artifact(self) -> ModelAnnouncement:
        registry = Registry(self._settings.model.registry)
        version = load_artifact(self._artifact).manifest.version
        url = registry.publish(self._artifact, version)
        return ModelAnnouncement(version, url, registry.manifest_sha256(url), NOW_MS)

    @asynccontextmanager
    async def _processes(self, life: str) -> AsyncIterator[dict[str, tuple[ChildProcess, int]]]:
        """All roles, watched; stopped with SIGTERM at the end, which each must obey."""
        children: dict[str, tuple[ChildProcess, int]] = {}
        async with AsyncExitStack() as stack:
            for name, command in self._roles.items():
                port = free_port()
                section = "trainer" if command[0] == "trainer" else "worker"
                environment = self._settings.override(
                    {f"{section}.metrics_port": port}
                ).environment()
                log = self._folder / f"{life}-{name}.log"
                child = ChildProcess(f"{life} {name}", command, log, environment)
                children[name] = (await stack.enter_async_context(child), port)
            watching = asyncio.create_task(self._watch(children))
            try:
                yield children
            finally:
                watching.cancel()
            for child, _ in children.values():
                await child.stop()
                self.report.stopped[child.name] = child.returncode or 0

    async def _watch(self, children: dict[str, tuple[ChildProcess, int]]) -> None:
        """Memory and unasked ends."""
        peaks = self.report.peak_mb
        while True:
            for child, _ in children.values():
                if child.returncode is not None and child.name not in self.report.ended:
                    self.report.ended[child.name] = child.log.read_text(errors="replace")[-3000:]
                with contextlib.suppress(psutil.NoSuchProcess):
                    memory_mb = psutil.Process(child.pid).memory_info().rss / 2**20
                    peaks[child.name] = max(peaks.get(child.name, 0.0), round(memory_mb))
            await asyncio.sleep(0.5)

    async def _write(self, sound: Sequence[bytes], hostile: dict[str, list[Record]]) -> None:
        """All hostile records in blocks, the topics in turn, good requests among the bad ones."""
        topics = self._settings.topics
        good = [Record(b"good", value) for value in sound]
        if not hostile:
            hostile = {topics.requests: []}
        partitions = await topic_partitions(self._settings.kafka, *hostile)
        mixed = {topic: list(records) for topic, records in hostile.items()}
        for record in good:
            mixed[topics.requests].insert(self._rng.randint(0, len(mixed[topics.requests])), record)
        start = 0
        while any(start < len(records) for records in mixed.values()):
            for topic, records in mixed.items():
                block = records[start : start + BLOCK]
                share = len(partitions[topic])
                for tp in partitions[topic]:
                    part = block[tp.partition :: share]
                    self.report.written[topic] += await self._producer.send(
                        topic, tp.partition, part
                    )
            start += BLOCK

    async def _write_last(self, announcement: ModelAnnouncement) -> None:
        """The good messages that must win over all the bad ones before them."""
        topics = self._settings.topics
        change = orjson.dumps({"rate": FINAL_RATE})
        await self._producer.send(topics.control, 0, [Record(b"*", change)])
        self._revision = self._producer.last_offset
        last = Record(b"default", announcement.to_bytes())
        await self._producer.send(topics.models, 0, [last])

    async def _write_clicks(self, sound: Sequence[bytes]) -> None:
        """Clicks of good requests, a second after them."""
        ids = [orjson.loads(value)["id"] for value in sound[::CLICK_EVERY]]
        clicks = [
            Record(None, Outcome(request_id, "click", NOW_MS + 1000).to_bytes())
            for request_id in ids
        ]
        await self._producer.send(self._settings.topics.outcomes, 0, clicks)

    async def _settled(self, children: dict[str, tuple[ChildProcess, int]], version: str) -> None:
        """Wait until all groups have committed all there is, and the last good messages apply."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            missing = await self._missing(children, version)
            (self._folder / "waits-for.txt").write_text("\n".join(missing))
            if not missing or self.report.ended:
                return
            if time.monotonic() > deadline:
                self.report.faults.append(f"not within {DEADLINE_S:g} s: {'; '.join(missing)}")
                return
            await asyncio.sleep(1.0)

    async def _missing(
        self, children: dict[str, tuple[ChildProcess, int]], version: str
    ) -> list[str]:
        topics, group = self._settings.topics, self._settings.kafka.group
        missing = []
        for name, (_, port) in children.items():
            if not name.startswith("worker"):
                continue
            figures = await asyncio.to_thread(metrics, port)
            if figures.get(("weir_model_info", version)) != 1:
                missing.append(f"{name} does not serve {version}")
            if figures.get(("weir_control_revision", "")) != self._revision:
                missing.append(f"{name} has not come to revision {self._revision} of control")
        missing += await self._behind(group, [topics.requests])
        if "feedback" in children:
            passed = [topics.passed, topics.outcomes, topics.joins]
            missing += await self._behind(f"{group}-feedback", passed)
        if "trainer" in children and not missing:
            missing += await self._unstored()
        return missing

    async def _behind(self, group: str, topics: list[str]) -> list[str]:
        """Partitions of which the group has not committed everything."""
        kafka = self._settings.kafka
        partitions = [
            tp for found in (await topic_partitions(kafka, *topics)).values() for tp in found
        ]

        async def question(admin: AIOKafkaAdminClient) -> dict[TopicPartition, Any]:
            offsets: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(
                group, partitions=partitions
            )
            return offsets

        committed = await admin_request(client_options(kafka), question)
        async with bounded_consumer(kafka) as consumer:
            consumer.assign(partitions)
            ends = await exact_ends(consumer, partitions)
        return [
            f"{group}: {tp.topic}[{tp.partition}] at {at} of {end}"
            for tp, end in ends.items()
            if (at := max(committed[tp].offset, 0)) < end
        ]

    async def _unstored(self) -> list[str]:
        """Good examples on the topic that the store does not have yet."""
        wanted = await self._examples()
        stored = self._stored()
        absent = [request_id for request_id in wanted if request_id not in stored]
        return [f"{len(absent)} examples not stored, such as {absent[0]}"] if absent else []

    async def _examples(self) -> dict[str, TrainingExample]:
        """The newest example of every good request on the topic."""
        good = {orjson.loads(value)["id"] for value in self._sound}
        newest: dict[str, TrainingExample] = {}
        async for record in read_topic(self._settings.kafka, self._settings.topics.examples):
            with contextlib.suppress(RecordError):
                example = TrainingExample.from_bytes(record.value)
                if example.request_id in good:
                    newest[example.request_id] = example
        return newest

    def _stored(self) -> dict[str, int | None]:
        """Label of click by id, of the newest example of every request in the store."""
        stored: dict[str, int | None] = {}
        for part in sorted(Path(self._settings.trainer.store).glob("part-*.parquet")):
            frame = pl.read_parquet(part, columns=["request_id", "label_click"])
            stored.update(frame.iter_rows())
        return stored

    def _note_metrics(self, children: dict[str, tuple[ChildProcess, int]]) -> None:
        for _, port in children.values():
            for (name, label), value in metrics(port).items():
                if name == "weir_refused_messages_total":
                    self.report.refused[label] += int(value)
                if name == "weir_rejects_total" and value:
                    self.report.rejects[label] += int(value)

    async def _judge(self) -> None:
        """Hold what was seen to what must hold."""
        report, topics = self.report, self._settings.topics
        report.faults += [f"{name} ended: {words}" for name, words in report.ended.items()]
        report.faults += [
            f"{name} ended with status {status}"
            for name, status in report.stopped.items()
            if status
        ]
        report.faults += [
            f"{name} took {peak:.0f} MiB"
            for name, peak in report.peak_mb.items()
            if peak > MAX_RSS_MB
        ]
        assert report.account is not None
        if not report.account.exact:
            report.faults.append(f"not exact: {report.account}")
        await self._judge_requests()
        if "feedback" in self._roles:
            await self._judge_labels()
        read = {topics.control, topics.models, topics.rate_state, topics.consumption}
        if "feedback" in self._roles:
            read.add(topics.outcomes)
        if "trainer" in self._roles:
            read.add(topics.examples)
        report.faults += [
            f"{topic}: nothing was refused of {report.written[topic]} records"
            for topic in sorted(read)
            if report.written[topic] and not report.refused[topic]
        ]
        self._judge_logs()

    async def _judge_requests(self) -> None:
        """Every good request is decided, with its own bytes."""
        topics = self._settings.topics
        decided: Counter[bytes] = Counter()
        for topic in (topics.passed, topics.blocked):
            async for record in read_topic(self._settings.kafka, topic):
                if record.key == b"good":
                    decided[record.value or b""] += 1
                    if topic == topics.passed:
                        self._passed.add(orjson.loads(record.value or b"")["id"])
        wrong = [value for value in self._sound if decided[value] != 1]
        if wrong:
            self.report.faults.append(f"{len(wrong)} good requests not decided once: {wrong[:2]}")

    async def _judge_labels(self) -> None:
        """Every good request that passed and was clicked has an example that says so."""
        found = await self._examples()
        half = len(self._sound) // 2
        clicked = {
            orjson.loads(value)["id"]
            for part in (self._sound[:half], self._sound[half:])
            for value in part[::CLICK_EVERY]
        }
        wanted = clicked & self._passed
        wrong = [name for name in wanted if name not in found or found[name].labels["click"] != 1]
        if wrong or not wanted:
            self.report.faults.append(
                f"{len(wrong)} of {len(wanted)} clicks have no label: {wrong[:3]}"
            )
        if "trainer" in self._roles:
            stored = self._stored()
            lost = [name for name in wanted if stored.get(name) != 1]
            if lost:
                self.report.faults.append(f"{len(lost)} labels are not in the store: {lost[:3]}")

    def _judge_logs(self) -> None:
        """Refusals have coordinates; no line is a traceback's, none is endless."""
        refused = 0
        for log in sorted(self._folder.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith("Traceback"):
                    self.report.faults.append(f"{log.name}: a traceback")
                if len(line) > LONGEST_LINE:
                    self.report.faults.append(f"{log.name}: a line of {len(line)} characters")
                refused += bool(COORDINATES.search(line))
        if self.report.refused and not refused:
            self.report.faults.append("no line of a log has a refusal's coordinates")


def metrics(port: int) -> dict[tuple[str, str], float]:
    """Figures by name and value of the first label, "" without labels; none while it starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
