"""Runs a broker as a child process; the embedded broker and the nodes of a Kafka cluster use it."""

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

#: PR_SET_PDEATHSIG ends a child with the *thread* that forked it; this one is never stopped.
_SPAWNER: Final = ThreadPoolExecutor(1, thread_name_prefix="broker-spawner")


class BrokerError(UserError, RuntimeError):
    """A broker could not be started or stopped; the message names its log file, or the fix."""


class BrokerProcess:
    """A broker process, which can be stopped and started again.

    On Linux it ends with the process that started it, also if that is killed; elsewhere only
    :meth:`stop` and :meth:`kill` end it.

    Args:
        name: Name of the process in messages.
        command: Program and arguments.
        log: File for its output; its folder is created.
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

    def start(self, is_up: Callable[[], bool], timeout_s: float) -> None:
        """Start it and wait until ``is_up()`` is true; if that takes too long, it is killed.

        Raises:
            BrokerError: If it runs already, ends at once, or is not up in time.
        """
        self.spawn()
        try:
            self.wait_until(is_up, timeout_s)
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

    def wait_until(self, is_up: Callable[[], bool], timeout_s: float) -> None:
        """Wait until ``is_up()`` is true.

        Raises:
            BrokerError: If it has ended, or is not up in time.
        """
        deadline = time.monotonic() + timeout_s
        while self.pid is not None:
            if is_up():
                return
            if time.monotonic() > deadline:
                raise BrokerError(f"{self.name} was not up within {timeout_s:g} s; see {self.log}")
            time.sleep(_POLL_S)
        status = self._process.returncode if self._process else None
        raise BrokerError(
            f"{self.name} ended with status {status} while it started; see {self.log}"
        )

    def printed(self, text: bytes) -> bool:
        """Whether it has logged this text since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return text in log.read()

    def terminate(self) -> None:
        """Send SIGTERM without waiting; does nothing if it has ended."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> bool:
        """Stop it with SIGTERM, and with SIGKILL after the limit; returns whether SIGTERM did."""
        self.terminate()
        clean = self.wait(timeout_s)
        self.kill()
        return clean

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ends; returns whether it did within the limit."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it has ended; does nothing if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def refuse_taken(port: int) -> None:
    """Raise an error if a port is in use.

    Raises:
        BrokerError: If it is; names the port.
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
