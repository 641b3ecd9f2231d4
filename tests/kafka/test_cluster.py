"""A Kafka cluster loses a node, gets it back, and never outlives its parent."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from models.settings import Settings, TopicSettings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.brokers.process import BrokerError
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.kafka.topics import ensure_topics

pytestmark = pytest.mark.kafka
#: Source of a topic's setting in Kafka's answer, as against a default of the brokers.
SET_ON_THE_TOPIC = 1


@pytest.fixture(scope="module")
def cluster(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    with KafkaCluster(folder, nodes=3, jars=kafka_jars) as running:
        yield running


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


async def test_a_node_may_be_lost_and_comes_back(
    cluster: KafkaCluster, unique: Callable[[str], str]
) -> None:
    """With a killed leader and then a stopped controller, writes go on, and nothing is lost."""
    names = {f"topics.{field}": unique(field) for field in TopicSettings.model_fields}
    kafka = {f"kafka.{key}": value for key, value in cluster.client.model_dump().items()}
    settings = Settings().override({**names, **kafka})
    await ensure_topics(settings.kafka, settings.topics)
    topic = settings.topics.requests
    lost = cluster.leader(topic, 0)
    async with AIOKafkaProducer(**client_options(settings.kafka), acks="all") as producer:
        await producer.send_and_wait(topic, b"0", partition=0)
        cluster.kill(lost)
        assert lost not in cluster.pids
        until(lambda: cluster.leader(topic, 0) not in {lost, -1})
        await producer.send_and_wait(topic, b"1", partition=0)
        cluster.start_node(lost)
        assert set(cluster.pids) == {1, 2, 3}
        controller = cluster.controller()
        cluster.terminate(controller)
        until(lambda: cluster.controller() not in {controller, -1})
        await producer.send_and_wait(topic, b"2", partition=0)
        cluster.start_node(controller)
    assert [record.value async for record in read_topic(settings.kafka, topic)] == [
        b"0",
        b"1",
        b"2",
    ]


async def test_three_replicas_need_two_to_write(
    cluster: KafkaCluster, unique: Callable[[str], str]
) -> None:
    """The topics of Weir have three replicas, and a write needs two of them."""
    kafka = cluster.client
    topics = TopicSettings(**{field: unique(field) for field in TopicSettings.model_fields})
    await ensure_topics(kafka, topics)
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    try:
        wanted = [
            ConfigResource(ConfigResourceType.TOPIC, name) for name in topics.model_dump().values()
        ]
        async with asyncio.timeout(
            30
        ):  # a node may get the metadata of new topics after the others
            (answer,) = await admin.describe_configs(wanted)
            while any(resource[0] for resource in answer.resources):
                await asyncio.sleep(0.1)
                (answer,) = await admin.describe_configs(wanted)
        described = await admin.describe_topics([topics.requests, topics.models])
    finally:
        await admin.close()
    for resource in answer.resources:
        values = {entry[0]: (entry[1], entry[3]) for entry in resource[4]}
        assert values["min.insync.replicas"] == ("2", SET_ON_THE_TOPIC)
    assert all(len(p["replicas"]) == 3 for topic in described for p in topic["partitions"])


def test_a_node_that_is_not_there_is_named(cluster: KafkaCluster) -> None:
    """The error lists the nodes that exist."""
    with pytest.raises(BrokerError, match=r"no node 4; there are \[1, 2, 3\]"):
        cluster.kill(4)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_dies_with_a_parent_that_is_killed(kafka_jars: Path, tmp_path: Path) -> None:
    """A kill -9 of the process that starts a cluster ends its nodes."""
    code = (
        "import threading, time; from pathlib import Path\n"
        "from stream.brokers.kafka_cluster import KafkaCluster\n"
        f"c = KafkaCluster(Path({str(tmp_path)!r}), jars=Path({str(kafka_jars)!r}))\n"
        "threading.Thread(target=c.start, daemon=True).start()\n"
        "while not c.pids: time.sleep(0.05)\n"
        "print(*c.pids.values(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    node = psutil.Process(int(parent.stdout.readline()))
    assert node.is_running()
    parent.kill()
    parent.wait()
    until(lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE)
