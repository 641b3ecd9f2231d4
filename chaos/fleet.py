"""The workers under test: `weir worker` processes, and what a supervisor does for them."""

import asyncio
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from models.settings import Settings
from stream.brokers.children import ChildProcess

LOOK_S: Final = 0.1


class Stop(NamedTuple):
    """How a worker ended that was asked to (SIGTERM).

    Attributes:
        name: Of the worker.
        seconds: How long it took.
        status: Its exit status.
        started: Whether it had said anything; before that, a signal just ends the interpreter.
    """

    name: str
    seconds: float
    status: int
    started: bool


class Crash(NamedTuple):
    """A worker that ended unasked."""

    name: str
    status: int
    last_words: str


class Fleet:
    """Some workers of one group; one that ends unasked is noted and replaced at once.

    An async context manager: whatever still runs at its end is killed.

    Args:
        settings: Of every worker.
        folder: Their logs go here.
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
        """One worker more; it needs seconds until it works."""
        self._started += 1
        name = f"worker-{self._started}"
        worker = ChildProcess(name, ["worker"], self._folder / f"{name}.log", self._environment)
        await worker.__aenter__()
        self.workers.append(worker)
        return worker

    async def kill(self, worker: ChildProcess) -> None:
        """Kill -9; it may have ended unasked before, and been replaced."""
        if worker in self.workers:
            self.workers.remove(worker)
            worker.kill()
            await worker.wait()

    async def stop(self, worker: ChildProcess) -> None:
        """SIGTERM, and note how it ended."""
        if worker in self.workers:
            self.workers.remove(worker)
            start, started = time.monotonic(), worker.log.stat().st_size > 0
            await worker.stop()
            seconds = round(time.monotonic() - start, 2)
            self.stops.append(Stop(worker.name, seconds, worker.returncode or 0, started))

    async def freeze(self, worker: ChildProcess, seconds: float) -> None:
        """SIGSTOP for so long, then SIGCONT."""
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(worker.pid, signal.SIGCONT)

    async def _supervise(self) -> None:
        while True:
            for worker in [each for each in self.workers if each.returncode is not None]:
                self.workers.remove(worker)
                words = worker.log.read_text(errors="replace")[-2000:]
                self.crashes.append(Crash(worker.name, worker.returncode or 0, words))
                await self.start()
            await asyncio.sleep(LOOK_S)
