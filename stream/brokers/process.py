"""A broker as a child process: logged, waited for, stopped in order, never left behind.

What the embedded broker and the nodes of a Kafka cluster have in common.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from models.errors import UserError

HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.02

#: The kernel ends a child with the *thread* that forked it. This one lives as long as the process.
_SPAWNER: Final = ThreadPoolExecutor(1, thread_name_prefix="broker-spawner")


class BrokerError(UserError, RuntimeError):
    """A broker could not be started or stopped; the message names its log file, or what to do."""


class BrokerProcess:
    """One process, from start to end; it can be started again.

    It ends with the process that started it, however that ends (on Linux; elsewhere only
    :meth:`stop` and :meth:`kill` end it).

    Args:
        name: For messages.
        command: Program and arguments.
        log: File that receives what it prints; folders are made.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, serves: Callable[[], bool], timeout_s: float) -> None:
        """Start it and wait until ``serves()``; if it does not, it is killed.

        Raises:
            BrokerError: If it runs already, ends at once, or does not serve in time.
        """
        self.spawn()
        try:
            self.wait_until(serves, timeout_s)
        except BaseException:
            self.kill()
            raise

    def spawn(self) -> None:
        """Start it without waiting.

        Raises:
            BrokerError: If it runs already.
        """
        if self.pid is not None:
            raise BrokerError(f"{self.name} is already running")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = _SPAWNER.submit(_popen, self._command, self.log).result()

    def wait_until(self, serves: Callable[[], bool], timeout_s: float) -> None:
        """Wait until ``serves()``.

        Raises:
            BrokerError: If it has ended, or does not serve in time.
        """
        deadline = time.monotonic() + timeout_s
        while self.pid is not None:
            if serves():
                return
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"{self.name} did not serve within {timeout_s:g} s; see {self.log}"
                )
            time.sleep(_POLL_S)
        status = self._process.returncode if self._process else None
        raise BrokerError(f"{self.name} ended with status {status} at start; see {self.log}")

    def printed(self, text: bytes) -> bool:
        """Whether its log has this text since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return text in log.read()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), without waiting; harmless where it has ended."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> bool:
        """SIGTERM, then SIGKILL after the deadline; whether it ended by itself. Harmless twice."""
        self.terminate()
        clean = self.wait(timeout_s)
        self.kill()
        return clean

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within this time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, and wait for its end; harmless where it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def refuse_taken(port: int) -> None:
    """Raise where a port is in use.

    Raises:
        BrokerError: Naming the port.
    """
    if accepts(port):
        raise BrokerError(f"port {port} is taken; choose another, or 0 for a free one")


def _popen(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell, no outside input
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which stops the broker last
            preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
        )


def _die_with(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: the child only calls it

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arm
