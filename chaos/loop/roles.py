"""The processes of the loop, each of which can be killed and is started again at once."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import psutil

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.metrics.scrape import scrape

POLL_S: Final = 0.1
TRAINER: Final = "trainer"
FEEDBACK: Final = "feedback"
REBUILD_MODULE: Final = "trainer.pipeline.rebuild"
COMMANDS: Final = {FEEDBACK: ("worker", "--role", "feedback"), TRAINER: ("trainer",)}


class Ended(NamedTuple):
    """A process that ended without being killed, with the end of its log."""

    name: str
    status: int
    log_tail: str


class Roles:
    """Workers, feedback and trainer; one that ends by itself is recorded and replaced.

    An async context manager: what still runs at its end is killed.

    Args:
        settings: Settings of all processes.
        folder: Folder of their logs.
        workers: Number of intercept workers.
    """

    def __init__(self, settings: Settings, folder: Path, workers: int) -> None:
        self._settings = settings
        self._folder = folder
        self._started = 0
        self._ports = {f"worker-{number}": free_port() for number in range(workers)}
        self._running: dict[str, ChildProcess] = {}
        self._killing = asyncio.Lock()
        self.ended: list[Ended] = []

    @property
    def workers(self) -> list[str]:
        """Names of the intercept workers."""
        return list(self._ports)

    async def __aenter__(self) -> Self:
        for name in (*self._ports, *COMMANDS):
            await self._start(name)
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
        for child in self._running.values():
            if child.returncode is None:
                child.kill()
                await child.wait()

    async def kill(self, name: str) -> None:
        """Kill a process (SIGKILL) and start it again; one kill after the other."""
        async with self._killing:
            child = self._running.pop(name)
            if child.returncode is None:
                child.kill()
                await child.wait()
            await self._start(name)

    def kill_rebuild(self) -> bool:
        """Kill the trainer's rebuild process; False if none runs."""
        trainer = self._running.get(TRAINER)
        if trainer is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(trainer.pid).children():
                if REBUILD_MODULE in process.cmdline():
                    os.kill(process.pid, signal.SIGKILL)
                    return True
        return False

    async def serving(self) -> dict[str, str]:
        """Version that each worker serves; those that do not answer are left out."""
        found = await scrape(self._ports.values())
        names = {port: name for name, port in self._ports.items()}
        return {names[port]: sample.model for port, sample in found.items()}

    async def stop(self) -> None:
        """Stop all of them with SIGTERM, so that what was consumed is stored."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in self._running.values()))

    async def _start(self, name: str) -> None:
        self._started += 1
        command, settings = COMMANDS.get(name, ("worker",)), self._settings
        if name in self._ports:
            settings = settings.override({"worker.metrics_port": self._ports[name]})
        log = self._folder / f"{self._started:03d}-{name}.log"
        child = ChildProcess(name, command, log, settings.environment())
        await child.__aenter__()
        self._running[name] = child

    async def _supervise(self) -> None:
        while True:
            for name, child in list(self._running.items()):
                if child.returncode is not None and not self._killing.locked():
                    tail = child.log.read_text(errors="replace")[-2000:]
                    self.ended.append(Ended(name, child.returncode, tail))
                    await self._start(name)
            await asyncio.sleep(POLL_S)
