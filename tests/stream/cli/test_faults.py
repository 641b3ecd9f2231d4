"""The command line: whatever is wrong with a connection is one sentence, for every command."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.client import client_options
from stream.transport import ChunkSink, Outgoing
from tests.stream.intercept.test_worker import until

COMMANDS = {
    "worker": ["worker"],
    "feedback": ["worker", "--role", "feedback"],
    "trainer": ["trainer"],
    "topics": ["topics"],
    "verify": ["verify"],
    "replay": ["replay", "bid-requests"],
    "publish": ["publish", "simulated", "--requests", "10"],
    "rate": ["rate", "get"],
    "policy": ["policy", "get"],
}
ENDS_S = 60.0


def weir(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIR_")}
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[3]), clean.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**clean, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,
    )


def told(process: subprocess.Popen[str], status: int = 2) -> str:
    """All that it printed, once it has ended."""
    try:
        output, _ = process.communicate(timeout=ENDS_S)
    finally:
        process.kill()
    assert "Traceback" not in output
    assert process.returncode == status, output
    return output


def one_sentence(output: str) -> str:
    assert output.count("\n") == 1, output
    assert output.startswith("weir: ")
    return output


@pytest.mark.parametrize("command", COMMANDS.keys() - {"trainer"})
def test_no_broker_is_one_sentence(command: str, tmp_path: Path) -> None:
    """With the address and what to do, whatever the command."""
    address = f"127.0.0.1:{free_port()}"
    output = told(weir(tmp_path, "--bootstrap", address, *COMMANDS[command]))
    assert f"{address}: no broker answers (connection refused)" in one_sentence(output)


def test_the_trainer_waits_for_its_brokers(tmp_path: Path) -> None:
    """It says so in the same words, and goes on trying."""
    address = f"127.0.0.1:{free_port()}"
    process = weir(tmp_path, "--bootstrap", address, *COMMANDS["trainer"])
    for line in process.stdout:
        if f"{address}: no broker answers (connection refused)" in line:
            break
    process.send_signal(signal.SIGTERM)
    told(process, status=0)


def test_what_ends_a_process_is_logged_for_machines_too(tmp_path: Path) -> None:
    """As the last line, critical."""
    address = f"127.0.0.1:{free_port()}"
    output = told(weir(tmp_path, "--bootstrap", address, "--log-format", "json", "worker"))
    (row,) = map(orjson.loads, output.splitlines())
    assert (row["level"], row["logger"]) == ("CRITICAL", "weir")
    assert row["message"].startswith(f"{address}: no broker answers")


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_connecting_ends_at_once(command: str, tmp_path: Path) -> None:
    """A broker that never answers is not waited for any longer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(ENDS_S)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = weir(tmp_path, "--bootstrap", address, *COMMANDS[command])
        connection, _ = listener.accept()
        with connection:
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            output = told(process, status=130)
    assert time.monotonic() - start < 8  # it would give up after ten
    assert output.endswith("interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--bootstrap", "host:abc"], "kafka.bootstrap: 'host:abc': 'abc' is not a port"),
        (["--bootstrap", "host:99999"], "'99999' is not a port"),
        (["--set", "kafka.group=a b"], "kafka.group: 'a b' may have letters"),
        (["--set", "kafka.group=a/b"], "kafka.group: 'a/b' may have letters"),
        (["--log-format", "xml"], "log.format"),
        (["--set", "kafka.security_protocol=SASL_SSL"], "kafka.sasl_username: empty"),
        (
            ["--set", "kafka.security_protocol=SSL", "--set", "kafka.ssl_certfile=absent.pem"],
            "'absent.pem'",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    """Before anything connects."""
    assert expected in one_sentence(told(weir(tmp_path, *arguments, "worker")))


@pytest.mark.broker
def test_a_metrics_port_that_is_taken_is_named(settings: Settings, tmp_path: Path) -> None:
    """For both workers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for role in ("intercept", "feedback"):
            command = ["worker", "--role", role, "--metrics-port", str(port)]
            output = told(weir(tmp_path, *command, environment=settings.environment()))
            last = output.splitlines()[-1]
            assert last.startswith("weir: worker.metrics_host, worker.metrics_port: cannot listen")
            assert f"127.0.0.1:{port} (Address already in use); choose another port" in last


@pytest.mark.broker
def test_a_topic_that_is_missing_is_named(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """One that a worker reads ends it, with what creates it."""
    settings = Settings().override({"kafka.bootstrap": broker.bootstrap, "topics.models": "m-no"})
    output = told(weir(tmp_path, "worker", environment=settings.environment()))
    assert "the topic m-no does not exist; `weir topics` creates it" in output
    assert output.splitlines()[-1].startswith("weir: m-no: no such topic")


@pytest.mark.broker
def test_the_doctor_on_the_embedded_broker(settings: Settings, tmp_path: Path) -> None:
    """One line per finding, or JSON; status 1 where something fails."""
    healthy = told(weir(tmp_path, "doctor", environment=settings.environment()), status=0)
    lines = healthy.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    assert {"connection", "topics", "artifact", "clock"} <= {line.split()[1] for line in lines}
    sick = settings.override({"model.artifact": "nowhere"})
    output = told(weir(tmp_path, "doctor", "--json", environment=sick.environment()), status=1)
    (found,) = [row for row in orjson.loads(output) if row["level"] == "fail"]
    assert found["check"] == "artifact"
    assert found["fix"]


@pytest.mark.broker
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
    rest = told(process, status=0)
    lines += [orjson.loads(line) for line in rest.splitlines()]
    assert {row["level"] for row in lines} >= {"DEBUG", "INFO"}
    assert {row["logger"].split(".")[0] for row in lines} >= {"aiokafka", "faust", "stream"}


@pytest.mark.broker
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--requests", "10", "--jsonl", "file/x.jsonl"],
        ["broker", "--port", "0", "--folder", "file/x"],
        ["--bootstrap", "127.0.0.1:1", "--set", "trainer.store=file/x", "trainer"],
        ["train", "--simulated", "1000", "--out", "file/x"],
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    """Named, with what to check, and before any work is done."""
    (tmp_path / "file").touch()
    last = told(weir(tmp_path, *arguments)).splitlines()[-1]
    assert "weir: file" in last
    assert "check that the path is right" in last


def test_a_broker_on_no_port_is_told_which_there_are(tmp_path: Path) -> None:
    """A number that is no port is refused as any wrong option is."""
    assert "less than or equal to 65535" in told(weir(tmp_path, "broker", "--port", "99999"))
