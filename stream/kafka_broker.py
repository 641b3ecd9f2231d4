"""Apache Kafka on this machine without containers: one KRaft node from Maven's jars, on loopback.

For what only the real broker proves. The jars are fetched once, with Maven, by
``deploy/kafka/pom.xml``; Java 17 or newer runs them.
"""

import base64
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from models.errors import UserError
from stream.processes import free_port

POM: Final = Path(__file__).parent.parent / "deploy" / "kafka" / "pom.xml"
HOST: Final = "127.0.0.1"
FETCH_S: Final = 600.0
START_S: Final = 60.0
STOP_S: Final = 20.0


class KafkaBrokerError(UserError, RuntimeError):
    """Kafka could not be fetched or started; names the log file, and what is missing."""


class KafkaBroker:
    """One Kafka node; a context manager. It ends with :meth:`stop`, and its data with it.

    Args:
        folder: Jars (kept), data (made anew) and logs go here.
        port: Port of its listener, 0 for a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.log = self.folder / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients, ``host:port``."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        """Fetch the jars if they are not there, format storage, start, wait until it serves.

        Raises:
            KafkaBrokerError: If Java or Maven is missing, or a step fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        jars = self._jars()
        settings = self._write_settings()
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        java = [_program("java"), "-Xmx1g", "-cp", f"{jars}/*"]
        self._run([*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", settings])
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                [*java, "kafka.Kafka", settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_served()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after a while. Stopping twice is harmless."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _jars(self) -> Path:
        jars = self.folder / "jars"
        if not any(jars.glob("kafka_*.jar")):
            goal = "dependency:copy-dependencies"
            target = f"-DoutputDirectory={jars}"
            self._run([_program("mvn"), "-q", "-B", "-f", str(POM), goal, target])
        return jars

    def _write_settings(self) -> str:
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        controller = free_port()
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": data,
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "log.retention.ms": -1,
        }
        path = self.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return str(path)

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            done = subprocess.run(  # noqa: S603 - our own commands, no shell
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                timeout=FETCH_S, check=False,
            )  # fmt: skip
        if done.returncode:
            raise KafkaBrokerError(
                f"{Path(command[0]).name} ended with status {done.returncode}; see {self.log}"
            )

    def _wait_until_served(self) -> None:
        deadline = time.monotonic() + START_S
        while self._process is not None and self._process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise KafkaBrokerError(
                    f"Kafka did not serve {self.bootstrap} within {START_S:g} s; see {self.log}"
                )
            time.sleep(0.1)
        raise KafkaBrokerError(f"Kafka ended at start; see {self.log}")


def available() -> bool:
    """Whether Java and Maven are there."""
    return shutil.which("java") is not None and shutil.which("mvn") is not None


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise KafkaBrokerError(f"{name} is not installed; Kafka needs Java 17 or newer, and Maven")
    return path
