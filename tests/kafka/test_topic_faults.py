"""Faults that need a cluster of their own: a corrupt batch, too few replicas, a quota."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.settings import Settings, TopicSettings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.kafka_jars import java_command
from stream.kafka.reader import read_topic
from stream.kafka.topics import TopicError, ensure_topics
from stream.verify.verifier import account
from tests.kafka.topics import alter, commit, exact, logged, metric, rows, send, until
from tests.stream.intercept.test_worker import worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def own(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node for these tests only."""
    with KafkaCluster(tmp_path_factory.mktemp("faults"), jars=kafka_jars) as running:
        yield running


@pytest.fixture(params=["at-least-once", "exactly-once"])
async def settings(
    own: KafkaCluster, unique: Callable[[str], str], tmp_path: Path, request: pytest.FixtureRequest
) -> Settings:
    """Settings on that cluster, without a model: everything that can be read passes."""
    client = {f"kafka.{k}": v for k, v in own.client.model_dump(exclude_unset=True).items()}
    mine = Settings().override(
        {
            **client,
            **{f"topics.{field}": unique(field) for field in TopicSettings.model_fields},
            "kafka.group": unique("group"),
            "kafka.session_timeout_s": 6.0,
            "model.artifact": str(tmp_path / "none"),
            "model.registry": str(tmp_path / "registry"),
            "worker.guarantee": request.param,
        }
    )
    await ensure_topics(mine.kafka, mine.topics)
    return mine


async def test_a_corrupt_batch_holds_its_partition_and_no_other(
    own: KafkaCluster, settings: Settings, tmp_path: Path
) -> None:
    """Records before it are decided, its offset is logged, others go on; a commit skips it."""
    topic = settings.topics.requests
    for first in (0, 10, 20):  # three batches
        await send(settings, rows(first, 10))
    own.terminate(1)
    [log] = own.folder.rglob(f"{topic}-0/*.log")
    flip(log, b'"id":"r14"')
    own.start_node(1)
    await send(settings, rows(100, 50), 1)
    async with worker(settings, tmp_path, "held") as (child, port):
        await logged(child, rf"{topic}\[0\]@10\.\.19: the checksum of the batch is wrong, so this")
        await until(lambda: outputs(settings, 60), child)
        assert await metric(port, "weir_partition_held") == 1
        await send(settings, rows(200, 50), 1)
        await until(lambda: outputs(settings, 110), child)
        await child.stop()
        assert child.returncode == 0
    with pytest.raises(TopicError, match=rf"{topic}\[0\]@10: the checksum"):
        await account(settings)
    await commit(settings, 20)
    async with worker(settings, tmp_path, "skipped") as (child, _):
        await until(lambda: outputs(settings, 120), child)
        child.check()


async def outputs(settings: Settings, count: int) -> bool:
    return (
        len([record async for record in read_topic(settings.kafka, settings.topics.passed)])
        == count
    )


def flip(log: Path, content: bytes) -> None:
    """Change one byte of a batch on disk."""
    data = bytearray(log.read_bytes())
    data[data.index(content) + 2] ^= 0x20
    log.write_bytes(data)


async def test_too_few_in_sync_replicas_are_a_line_now_and_then(
    kafka_jars: Path, settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A log line says why writes wait; once the replica is back they go on, each once."""
    folder = tmp_path_factory.mktemp("replicas")
    with KafkaCluster(folder, nodes=3, jars=kafka_jars) as cluster:
        client = {f"kafka.{k}": v for k, v in cluster.client.model_dump(exclude_unset=True).items()}
        mine = settings.override({**client, "kafka.replication": 3})
        passed = mine.topics.passed
        await ensure_topics(mine.kafka, mine.topics)
        await alter(mine, passed, min_insync_replicas="3")
        async with worker(mine, tmp_path) as (child, port):
            await send(mine, rows(0, 50))
            await exact(mine, child)
            lost = next(n for n in (1, 2, 3) if n != cluster.leader(passed, 0))
            cluster.kill(lost)
            await send(mine, rows(50, 100))
            await logged(child, rf"{passed}: writes have been blocked .* min.insync.replicas, 3")
            assert await metric(port, "weir_topic_waiting", passed) == 1
            before = len(child.log.read_text().splitlines())
            await asyncio.sleep(10)
            assert len(child.log.read_text().splitlines()) - before < 15
            cluster.start_node(lost)
            found = await exact(mine, child)
    assert found.requests == 150


async def test_a_quota_slows_writes_and_is_logged(
    own: KafkaCluster, kafka_jars: Path, settings: Settings, tmp_path: Path
) -> None:
    """The worker waits, logs and counts it, and decides every request exactly once."""
    settings = settings.override({"worker.compression": "none"})
    value = b'{"id":"r%d","imp":[{}],"x":"' + b"x" * 8000 + b'"}'
    large = [row._replace(value=value % i) for i, row in enumerate(rows(0, 400))]
    await send(settings, large)
    with quota(own, kafka_jars, tmp_path, 200_000):
        async with worker(settings, tmp_path) as (child, port):
            await logged(child, r"quota of the brokers delayed writes")
            found = await exact(settings, child)
            assert await metric(port, "weir_throttled_seconds_total") > 0
    assert found.requests == 400


@contextmanager
def quota(own: KafkaCluster, jars: Path, folder: Path, bytes_a_second: int) -> Iterator[None]:
    """A quota on the bytes that any client may produce per second."""

    def alter(*change: str) -> None:
        command = java_command(
            jars, "kafka.admin.ConfigCommand", "--bootstrap-server", own.bootstrap, "--alter",
            *change, "--entity-type", "clients", "--entity-default", options=("-Xmx128m",),
        )  # fmt: skip
        with (folder / "quota.log").open("ab") as output:
            subprocess.run(command, check=True, stdout=output, stderr=output, timeout=60)

    alter("--add-config", f"producer_byte_rate={bytes_a_second}")
    try:
        yield
    finally:
        alter("--delete-config", "producer_byte_rate")
