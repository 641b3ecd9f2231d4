"""Runs `weir` subcommands as child processes of the demo, of chaos runs and of tests.

A child gets its parent's process id in the environment and ends when the parent is gone, so that
even a ``kill -9`` of the parent leaves no process behind. It runs this installation of Weir
even if the working directory has packages of these names.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from models.errors import UserError
from models.process.isolated import module_command
from models.process.parent import PARENT_VARIABLE

logger = logging.getLogger(__name__)

#: Below those that Linux gives to outgoing connections (net.ipv4.ip_local_port_range).
_FREE_PORTS: Final = range(20_000, 32_768)
#: Limit for the end of a child after SIGTERM; a worker drains within 5 s.
STOP_S: Final = 10.0


class ChildError(UserError, RuntimeError):
    """A child process ended when it should not have; names its log file."""


class ChildProcess:
    """A `weir` subcommand in a child process; an async context manager.

    It has a session of its own, so that Ctrl-C reaches only the parent, which stops it in order.

    Args:
        name: Name of the child in messages.
        arguments: Arguments of `weir`.
        log: File for its output; its folder is created.
        environment: Environment variables added to those of this process, of which those that
            begin with ``WEIR_`` are not inherited.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._command = module_command("stream.cli", *arguments)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        self._environment = {**inherited, **environment, PARENT_VARIABLE: str(os.getpid())}

    async def __aenter__(self) -> Self:
        """Start it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        await self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.returncode

    def check(self) -> None:
        """Raise if it ended with a failure.

        Raises:
            ChildError: Naming its status and its log, of which it quotes the last lines.
        """
        if self.returncode:
            tail = b"\n".join(self.log.read_bytes().splitlines()[-15:]).decode(errors="replace")
            raise ChildError(
                f"{self.name} ended with status {self.returncode}; its log {self.log} ends:\n{tail}"
            )

    async def wait(self) -> int:
        """Wait until it ends; returns its exit status."""
        return await self._process.wait()

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self._process.kill()

    async def stop(self) -> None:
        """Stop it with SIGTERM, and with SIGKILL if it does not end within :data:`STOP_S`."""
        if self.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            logger.warning("%s did not stop within %g s; killing it", self.name, STOP_S)
        finally:
            if self.returncode is None:
                self._process.kill()
                await self._process.wait()


def free_port() -> int:
    """A loopback port that is free now, and that no outgoing connection is given meanwhile.

    Raises:
        UserError: If none of a hundred that were tried is free.
    """
    for _ in range(100):
        port = _FREE_PORTS.start + secrets.randbelow(len(_FREE_PORTS))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise UserError(
        f"no free loopback port between {_FREE_PORTS.start} and {_FREE_PORTS.stop - 1}: "
        "end what listens there"
    )
