"""Probes of running processes, asked from outside while things come and go."""

import asyncio
import os
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.transport import ChunkSink, Outgoing

pytestmark = pytest.mark.broker
DEADLINE_S = 60.0


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 where nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def until(child: ChildProcess, port: int, status: int, word: str) -> None:
    """Wait until /ready answers so."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    found = (0, "")
    while asyncio.get_running_loop().time() < deadline:
        child.check()
        found = await asyncio.to_thread(ask, port, "/ready")
        if found[0] == status and word in found[1]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"/ready is {found}, not {status} with {word!r}:\n{child.log.read_text()}")


@asynccontextmanager
async def process(
    settings: Settings, folder: Path, *arguments: str
) -> AsyncIterator[tuple[ChildProcess, int]]:
    port = free_port()
    environment = settings.override({"worker.metrics_port": port}).environment()
    name = arguments[-1]
    async with ChildProcess(name, arguments, folder / f"{name}.log", environment) as child:
        yield child, port


def settings_on(broker: EmbeddedBroker, artifact: str) -> Settings:
    return Settings().override(
        {
            "kafka.bootstrap": broker.bootstrap,
            "kafka.session_timeout_s": 6.0,
            "model.artifact": artifact,
        }
    )


async def test_ready_with_partitions_and_a_model_while_the_broker_answers(tmp_path: Path) -> None:
    """A worker without a model is not; with one it is, until the broker freezes, and again."""
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = settings_on(broker, str(tmp_path / "nothing"))
        await ensure_topics(settings.kafka, settings.topics)
        async with process(settings, tmp_path, "worker") as (child, port):
            await until(child, port, 503, "model: none serves: everything passes\n")
            (tmp_path / "nothing").symlink_to(Path("models/artifact/pretrained/openrtb").resolve())
            await until(child, port, 200, "ready")
            assert ask(port, "/live") == (200, "live\n")
            assert ask(port, "/anything")[0] == 404
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                await until(child, port, 503, "broker: no answer")
                assert ask(port, "/live")[0] == 200
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            await until(child, port, 200, "ready")


async def test_a_worker_without_a_partition_is_ready_too(tmp_path: Path) -> None:
    """More workers than partitions: the one that is left over waits, and is not restarted."""
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = settings_on(broker, "pretrained:openrtb").override({"kafka.partitions": 1})
        await ensure_topics(settings.kafka, settings.topics)
        (tmp_path / "second").mkdir()
        async with (
            process(settings, tmp_path, "worker") as (first, first_port),
            process(settings, tmp_path / "second", "worker") as (second, second_port),
        ):
            await until(first, first_port, 200, "ready")
            await until(second, second_port, 200, "ready")
            deadline = asyncio.get_running_loop().time() + DEADLINE_S
            owned: list[bool] = []
            while sorted(owned) != [False, True]:
                assert asyncio.get_running_loop().time() < deadline, owned
                await asyncio.sleep(0.2)
                owned = [
                    'weir_consumer_lag{partition="0"' in ask(port, "/metrics")[1]
                    for port in (first_port, second_port)
                ]
            assert ask(first_port, "/ready")[0] == ask(second_port, "/ready")[0] == 200


async def test_lag_of_a_dead_worker_stays_in_view(tmp_path: Path) -> None:
    """Until another one takes its partitions over, whoever is left tells what waits there."""
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = settings_on(broker, "pretrained:openrtb")
        settings = settings.override({"kafka.partitions": 2, "kafka.session_timeout_s": 40.0})
        await ensure_topics(settings.kafka, settings.topics)
        (tmp_path / "dead").mkdir()
        async with (
            process(settings, tmp_path, "worker") as (left, port),
            process(settings, tmp_path / "dead", "worker") as (dead, _),
        ):
            await until_each_owns_one(left, port)
            dead.kill()
            await dead.wait()
            async with ChunkSink(client_options(settings.kafka)) as sink:
                for i in range(50):  # one a batch: the embedded broker counts batches
                    for partition in range(2):
                        record = Outgoing(None, b"{broken %d" % i, 1_700_000_000_000 + i)
                        await sink.send(settings.topics.requests, partition, [record])
            deadline = asyncio.get_running_loop().time() + DEADLINE_S
            found: dict[str, float] = {}
            while found.get("group") != 50 or found.get("own") != 0:
                assert asyncio.get_running_loop().time() < deadline, found
                await asyncio.sleep(0.5)
                found = lags(port)


async def until_each_owns_one(child: ChildProcess, port: int) -> None:
    """Wait until the worker has one of the two partitions."""
    await until(child, port, 200, "ready")
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while lags(port).get("partitions") != 1:
        child.check()
        assert asyncio.get_running_loop().time() < deadline, lags(port)
        await asyncio.sleep(0.2)


def lags(port: int) -> dict[str, float]:
    """Partitions and lag that a worker has in hand, and what it knows of its group."""
    lines = ask(port, "/metrics")[1].splitlines()
    own = [line for line in lines if line.startswith("weir_consumer_lag{")]
    group = [line for line in lines if line.startswith('weir_group_lag{group="weir",')]
    return {
        "partitions": len(own),
        "own": sum(float(line.split()[-1]) for line in own),
        "group": sum(float(line.split()[-1]) for line in group),
    }


async def test_feedback_is_ready_once_it_has_its_partitions(tmp_path: Path) -> None:
    """The feedback worker's probe knows its own conditions."""
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = settings_on(broker, "pretrained:openrtb")
        await ensure_topics(settings.kafka, settings.topics)
        arguments = ("worker", "--role", "feedback")
        async with process(settings, tmp_path, *arguments) as (child, port):
            await until(child, port, 200, "ready")
            assert ask(port, "/live") == (200, "live\n")
            text = ask(port, "/metrics")[1]
            assert 'weir_ready{role="feedback"} 1.0' in text
            assert 'weir_group_lag{group="weir",partition="0",topic="bid-requests"} 0.0' in text
