"""`weir status` as a whole process: with brokers and processes, and with parts of them down."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry, start_http_server

from models.settings import Settings
from stream.kafka.client import client_options
from stream.messages import ModelAnnouncement
from tests.deploy import exported
from tests.stream.cli.process import output_of, weir


@contextmanager
def serving(registry: CollectorRegistry) -> Iterator[str]:
    """The endpoint of a registry."""
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        assert isinstance(thread, threading.Thread)
        thread.join()


async def announce(settings: Settings, version: str) -> None:
    announcement = ModelAnnouncement(version, "registry/v1", "0" * 64, 5_000)
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        await producer.send_and_wait(
            settings.topics.models, announcement.to_bytes(), key=b"default", partition=0
        )


@pytest.mark.broker
async def test_everything_on_one_screen(settings: Settings, tmp_path: Path) -> None:
    """Topics with their records, the worker's version, the trainer's labels, what is wrong."""
    await announce(settings, "v1")
    with (
        serving(exported.worker()) as worker,
        serving(exported.feedback()) as feedback,
        serving(exported.trainer()) as trainer,
    ):
        options = [f"--endpoint={each}" for each in (worker, feedback, trainer)]
        environment = settings.environment() | {"COLUMNS": "160"}
        screen = output_of(weir(tmp_path, "status", *options, environment=environment), status=1)
        told = output_of(
            weir(tmp_path, "status", "--json", *options, environment=environment), status=1
        )
    facts = orjson.loads(told)
    topics = {each["name"]: each for each in facts["brokers"]["topics"]}
    assert topics[settings.topics.models]["records"] == 1
    assert topics[settings.topics.requests]["partitions"] == settings.kafka.partitions
    assert facts["brokers"]["announced"] == "v1"
    assert facts["registry"]["has_announced"] is False
    assert [each["role"] for each in facts["processes"]] == ["worker", "feedback", "trainer"]
    assert facts["trainers"][0]["labels"]["click"]["due"] == 5
    assert facts["attention"][0]["level"] == "fail"
    for shown in (worker, trainer, settings.topics.requests, "v1 is announced", "due in a day"):
        assert shown in screen
    titles = [line.strip() for line in screen.splitlines()]
    places = [titles.index(title) for title in ("attention", "topics", "workers", "labels")]
    assert places == sorted(places)


@pytest.mark.broker
def test_parts_that_are_down_are_reported(settings: Settings, tmp_path: Path) -> None:
    """Without brokers and processes: reasons, and no traceback."""
    nothing = "127.0.0.1:9"
    down = settings.override({"kafka.bootstrap": nothing, "status.endpoints": [nothing]})
    output = output_of(weir(tmp_path, "status", "--json", environment=down.environment()), status=1)
    facts = orjson.loads(output)
    assert "127.0.0.1:9" in facts["brokers"]["error"]
    messages = [each["message"] for each in facts["attention"] if each["level"] == "fail"]
    assert "127.0.0.1:9 does not answer" in messages
    wrong = output_of(weir(tmp_path, "status", "--endpoint=x", environment=down.environment()))
    assert "is not HOST:PORT" in wrong
