"""One attack: all roles run while hostile and good records are written to every topic.

Conditions: no process exits; every good request is decided once, and the verifier accounts for
every record; good outcomes become labels; a good control message and a good announcement apply
after all the bad ones; refused messages are counted and logged with their coordinates; memory stays
bounded; and the same after a restart, which continues from the committed offsets.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chaos.hostile.checks import Checks
from chaos.hostile.processes import Processes, count_refusals, running_roles
from chaos.hostile.producer import HostileProducer
from chaos.hostile.progress import pending_work
from chaos.hostile.report import Report
from chaos.hostile.values import GOOD, NOW_MS, Record
from models.artifact import load_artifact
from models.artifact.registry import Registry
from models.settings import Settings
from stream.kafka.admin import admin_request
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.topics import ensure_topics
from stream.messages import ModelAnnouncement, Outcome
from stream.verify.verifier import account

DEADLINE_S: Final = 300.0
"""Within which everything that was written is read, however slow the machine."""
CLICK_EVERY: Final = 3
"""One in so many good requests is clicked."""
FINAL_RATE: Final = 0.25
"""The rate that the last, good message on ``control`` sets."""
BLOCK: Final = 500
"""Records written at a time to one topic."""
LAX: Final = {"message.timestamp.after.max.ms": str(2**63 - 1)}


class Attack:
    """Plays one attack.

    Args:
        settings: Brokers, topics, folders; the topics need not exist.
        artifact: Folder of an artifact for the settings' tasks, announced at the end.
        sound: Values of sound bid requests with ids of their own.
        hostile: Hostile records by topic.
        seed: Seed of everything that is drawn.
        folder: Folder of the logs.
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
        roles: Mapping[str, Sequence[str]],
    ) -> None:
        self._settings = settings
        self._artifact = artifact
        self._sound = sound
        self._good_ids = {orjson.loads(value)["id"] for value in sound}
        self._clicked: set[str] = set()
        self._hostile = hostile
        self._folder = folder
        self._roles = roles
        self._rng = random.Random(seed)
        self.report = Report()

    async def play(self) -> Report:
        """Run the processes twice, the second time without hostile records; then check."""
        started = time.monotonic()
        settings, report = self._settings, self.report
        await self._create_lax_topics()
        await ensure_topics(settings.kafka, settings.topics)
        announcement = self._publish_artifact()
        hostile = self._hostile
        half = len(self._sound) // 2
        async with HostileProducer(settings.kafka) as self._producer:
            for run, sound in (("first", self._sound[:half]), ("second", self._sound[half:])):
                roles = running_roles(settings, self._roles, run, self._folder, report)
                async with roles as processes:
                    await self._write(sound, hostile)
                    await self._write_last(announcement)
                    await self._settled(processes, announcement.version)
                    await self._write_clicks(sound)
                    await self._settled(processes, announcement.version)
                    count_refusals(processes, report)
                hostile = {}
        report.account = await account(settings)
        await Checks(settings, report, self._sound, self._clicked, self._roles, self._folder).run()
        report.seconds = time.monotonic() - started
        return report

    async def _create_lax_topics(self) -> None:
        """Create the attacked topics to accept any timestamp; outputs keep the default limits."""
        kafka, topics = self._settings.kafka, self._settings.topics
        compacted = {"cleanup.policy": "compact"}
        partitioned = (topics.requests, topics.outcomes, topics.examples)
        wanted = [
            *(NewTopic(name, kafka.partitions, 1, topic_configs=LAX) for name in partitioned),
            NewTopic(topics.consumption, 1, 1, topic_configs=LAX),
            NewTopic(topics.rate_summaries, 1, 1, topic_configs=LAX),
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

    async def _write(self, sound: Sequence[bytes], hostile: dict[str, list[Record]]) -> None:
        """Write hostile records in blocks, topic by topic, good requests among the bad ones."""
        topics = self._settings.topics
        mixed = {topics.requests: [], **{name: list(each) for name, each in hostile.items()}}
        requests = mixed[topics.requests]
        for value in sound:
            requests.insert(self._rng.randint(0, len(requests)), Record(GOOD, value))
        partitions = await topic_partitions(self._settings.kafka, *mixed)
        for start in range(0, max(map(len, mixed.values())), BLOCK):
            for topic, records in mixed.items():
                block = records[start : start + BLOCK]
                count = len(partitions[topic])
                for tp in partitions[topic]:
                    self.report.written[topic] += await self._producer.send(
                        topic, tp.partition, block[tp.partition :: count]
                    )

    async def _write_last(self, announcement: ModelAnnouncement) -> None:
        """Write the good messages that must apply after all the bad ones before them."""
        topics = self._settings.topics
        change = orjson.dumps({"rate": FINAL_RATE})
        await self._producer.send(topics.control, 0, [Record(b"*", change)])
        self._revision = self._producer.last_offset
        last = Record(b"default", announcement.to_bytes())
        await self._producer.send(topics.models, 0, [last])

    async def _write_clicks(self, sound: Sequence[bytes]) -> None:
        """Write clicks of good requests, a second after them."""
        ids = [orjson.loads(value)["id"] for value in sound[::CLICK_EVERY]]
        self._clicked.update(ids)
        clicks = [
            Record(None, Outcome(request_id, "click", NOW_MS + 1000).to_bytes())
            for request_id in ids
        ]
        await self._producer.send(self._settings.topics.outcomes, 0, clicks)

    async def _settled(self, processes: Processes, version: str) -> None:
        """Wait until all groups have committed everything, and the last good messages apply."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            missing = await pending_work(
                self._settings,
                processes,
                version,
                self._revision,
                self._good_ids,
                self._clicked,
            )
            (self._folder / "waits-for.txt").write_text("\n".join(missing))
            if not missing or self.report.ended:
                return
            if time.monotonic() > deadline:
                self.report.faults.append(f"not within {DEADLINE_S:g} s: {'; '.join(missing)}")
                return
            await asyncio.sleep(1.0)
