"""`weir worker` as a whole process: faults at its start, and its log."""

import signal
import socket
from pathlib import Path

import orjson
import pytest

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.kafka.client import client_options
from stream.transport import ChunkSink, Outgoing
from tests.stream.cli.process import output_of, weir
from tests.stream.intercept.test_worker import until

pytestmark = pytest.mark.broker


def test_a_metrics_port_that_is_taken_is_named(settings: Settings, tmp_path: Path) -> None:
    """For both workers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for role in ("intercept", "feedback"):
            command = ["worker", "--role", role, "--metrics-port", str(port)]
            output = output_of(weir(tmp_path, *command, environment=settings.environment()))
            last = output.splitlines()[-1]
            assert last.startswith("weir: worker.metrics_host, worker.metrics_port: cannot listen")
            assert f"127.0.0.1:{port} (Address already in use); choose another port" in last


def test_a_topic_that_is_missing_is_named(settings: Settings, tmp_path: Path) -> None:
    """One that a worker reads ends it, with what creates it."""
    mine = settings.override({"topics.models": "m-no"})
    output = output_of(weir(tmp_path, "worker", environment=mine.environment()))
    assert "the topic m-no does not exist; `weir topics` creates it" in output
    assert output.splitlines()[-1].startswith("weir: m-no: no such topic")


def test_json_is_logged_by_whole_processes(settings: Settings, tmp_path: Path) -> None:
    """Every line of a worker, Faust's and Kafka's included, is an object."""
    port = free_port()
    mine = settings.override({"worker.metrics_port": port})
    process = weir(tmp_path, "-v", "--log-format", "json", "worker", environment=mine.environment())
    lines = []
    for line in process.stdout:
        lines.append(orjson.loads(line))
        if "Worker ready" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = output_of(process, status=0)
    lines += [orjson.loads(line) for line in rest.splitlines()]
    assert {row["level"] for row in lines} >= {"DEBUG", "INFO"}
    assert {row["logger"].split(".")[0] for row in lines} >= {"aiokafka", "faust", "stream"}


@pytest.mark.parametrize("form", ["text", "json"])
async def test_what_is_on_a_topic_reaches_the_log_escaped_and_bounded(
    settings: Settings, tmp_path: Path, form: str
) -> None:
    """Keys with line ends and escapes, 900 KB of value; at DEBUG all of it is logged."""
    hostile = b"key\nERROR forged: line\x1b[2J\r" + b"k" * 20_000
    rows = [
        Outgoing(hostile, b'{"id": "a\\n\x1b[31m", "imp": [{}], "pad": "' + b"x" * 900_000, 1),
        Outgoing(hostile, b"\n\x1b" * 1000, 2, [("head\ner", hostile)]),
        Outgoing(b"control\n\x1b", b"\x1b[2J\n" * 1000, 3),
    ]
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.requests, 0, rows[:2])
        for topic in (settings.topics.control, settings.topics.models, settings.topics.consumption):
            await sink.send(topic, 0, rows[2:])
    port = free_port()
    mine = settings.override({"worker.metrics_port": port, "log.format": form})
    child = ChildProcess("worker", ["-v", "worker"], tmp_path / "log", mine.environment())
    async with child:
        await until(child, port, lambda sample: sample.requests == 2)
        await child.stop()
    lines = child.log.read_bytes().split(b"\n")
    assert max(map(len, lines)) <= 4096
    assert all(line.decode().isprintable() for line in lines)
    assert not any(line.startswith(b"ERROR") for line in lines)
