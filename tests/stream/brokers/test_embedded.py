"""The embedded broker starts, serves, stops, and never outlives its parent."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from stream.brokers.embedded import BrokerError, EmbeddedBroker

pytestmark = pytest.mark.broker


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


async def test_serves_clients_once_started(tmp_path: Path) -> None:
    """When start returns, a Kafka client can list the cluster's topics."""
    with EmbeddedBroker(tmp_path / "b.log") as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            assert await admin.list_topics() == []
        finally:
            await admin.close()


def test_stop_ends_the_process_and_frees_the_port(tmp_path: Path) -> None:
    """After stop there is no process, and the same broker can be started again."""
    broker = EmbeddedBroker(tmp_path / "b.log").start()
    port, pid = broker.port, broker.pid
    broker.stop()
    assert pid is not None
    assert gone(pid)
    with broker:
        assert broker.port == port
        assert broker.pid not in (None, pid)


def test_names_a_port_that_is_taken(tmp_path: Path) -> None:
    """Starting on a port in use fails at once, naming the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is taken"):
            EmbeddedBroker(tmp_path / "b.log", port=port).start()


def test_a_broker_that_ends_at_start_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends before it serves is an error that names the log file."""
    monkeypatch.setattr("stream.brokers.embedded._binary", lambda: "/bin/false")
    log = tmp_path / "deep" / "b.log"
    with pytest.raises(BrokerError, match=str(log)):
        EmbeddedBroker(log).start()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """It outlives the thread that started it, but not a kill -9 of the process."""
    code = (
        "import threading, time; from pathlib import Path\n"
        "from stream.brokers.embedded import EmbeddedBroker\n"
        f"b = EmbeddedBroker(Path({str(tmp_path / 'b.log')!r}))\n"
        "t = threading.Thread(target=b.start); t.start(); t.join()\n"
        "time.sleep(0.5); print(b.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid)
