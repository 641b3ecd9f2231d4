"""The command line: a fault is one sentence and a status, for every command."""

import signal
import socket
import time
from importlib.metadata import version
from pathlib import Path

import orjson
import pytest

from stream.brokers.children import free_port
from tests.stream.cli.process import COMMANDS, ENDS_S, one_sentence, output_of, weir


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    """No settings are needed for it."""
    (tmp_path / "weir.toml").write_text("broken")
    assert output_of(weir(tmp_path, "--version"), status=0) == f"weir {version('weir')}\n"


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"trainer"}))
def test_no_broker_is_one_sentence(command: str, tmp_path: Path) -> None:
    """With the address and what to do, whatever the command."""
    address = f"127.0.0.1:{free_port()}"
    output = output_of(weir(tmp_path, "--bootstrap", address, *COMMANDS[command]))
    assert f"{address}: no broker answers (connection refused)" in one_sentence(output)


def test_the_trainer_waits_for_its_brokers(tmp_path: Path) -> None:
    """It says so in the same words, and goes on trying."""
    address = f"127.0.0.1:{free_port()}"
    process = weir(tmp_path, "--bootstrap", address, *COMMANDS["trainer"])
    for line in process.stdout:
        if f"{address}: no broker answers (connection refused)" in line:
            break
    process.send_signal(signal.SIGTERM)
    output_of(process, status=0)


def test_what_ends_a_process_is_logged_for_machines_too(tmp_path: Path) -> None:
    """As the last line, critical."""
    address = f"127.0.0.1:{free_port()}"
    output = output_of(weir(tmp_path, "--bootstrap", address, "--log-format", "json", "worker"))
    (row,) = map(orjson.loads, output.splitlines())
    assert (row["level"], row["logger"]) == ("CRITICAL", "weir")
    assert row["message"].startswith(f"{address}: no broker answers")


@pytest.mark.parametrize("flag", [True, False])
def test_an_invalid_setting_is_logged_for_machines_too(flag: bool, tmp_path: Path) -> None:
    """Whether a flag or the environment asks for JSON: the rest of the settings is not needed."""
    arguments = ["--log-format", "json"] if flag else []
    environment = {} if flag else {"WEIR_LOG__FORMAT": "json"}
    process = weir(tmp_path, *arguments, "--set", "policy.rat=1", "topics", environment=environment)
    (row,) = map(orjson.loads, output_of(process).splitlines())
    assert row["message"] == "policy.rat: unknown key; did you mean 'rate'?"


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
            output = output_of(process, status=130)
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
    assert expected in one_sentence(output_of(weir(tmp_path, *arguments, "worker")))


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
    last = output_of(weir(tmp_path, *arguments)).splitlines()[-1]
    assert "weir: file" in last
    assert "check that the path is right" in last
