"""The workers under test: `weir worker` processes, and their supervision."""

import asyncio
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from models.settings import Settings
from stream.brokers.children import ChildProcess

POLL_S: Final = 0.1


class Stop(NamedTuple):
    """How a worker stopped on SIGTERM.

    Attributes:
        name: Name of the worker.
        seconds: Time from the signal to its exit.
        status: Its exit status.
        started: Whether it had logged anything; before that, SIGTERM just ends the interpreter.
    """

    name: str
    seconds: float
    status: int
    started: bool


class Crash(NamedTuple):
    """A worker that exited unexpectedly, with the end of its log."""

    name: str
    status: int
    log_tail: str


class Fleet:
    """Workers of one consumer group; one that exits unexpectedly is recorded and replaced at once.

    An async context manager: workers that still run at its end are killed.

    Args:
        settings: Settings of every worker.
        folder: Folder of their logs.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment = settings.environment()
        self._folder = folder
        self._started = 0
        self.workers: list[ChildProcess] = []
        self.crashes: list[Crash] = []
        self.stops: list[Stop] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for worker in list(self.workers):
            await self.kill(worker)

    def pick(self, share: float) -> ChildProcess:
        """The worker at this share of the list."""
        return self.workers[int(share * len(self.workers))]

    async def start(self) -> ChildProcess:
        """Start another worker; it takes seconds to join the group."""
        self._started += 1
        name = f"worker-{self._started}"
        worker = ChildProcess(name, ["worker"], self._folder / f"{name}.log", self._environment)
        await worker.__aenter__()
        self.workers.append(worker)
        return worker

    async def kill(self, worker: ChildProcess) -> None:
        """Kill a worker with kill -9, unless it has crashed and been replaced already."""
        if worker in self.workers:
            self.workers.remove(worker)
            worker.kill()
            await worker.wait()

    async def stop(self, worker: ChildProcess) -> None:
        """Stop a worker with SIGTERM, and record how it stopped."""
        if worker in self.workers:
            self.workers.remove(worker)
            start, started = time.monotonic(), worker.log.stat().st_size > 0
            await worker.stop()
            seconds = round(time.monotonic() - start, 2)
            self.stops.append(Stop(worker.name, seconds, worker.returncode or 0, started))

    async def freeze(self, worker: ChildProcess, seconds: float) -> None:
        """Suspend a worker with SIGSTOP for some seconds, then resume it with SIGCONT."""
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(worker.pid, signal.SIGCONT)

    async def _supervise(self) -> None:
        while True:
            for worker in [each for each in self.workers if each.returncode is not None]:
                self.workers.remove(worker)
                tail = worker.log.read_text(errors="replace")[-2000:]
                self.crashes.append(Crash(worker.name, worker.returncode or 0, tail))
                await self.start()
            await asyncio.sleep(POLL_S)
