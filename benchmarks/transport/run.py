"""Runs the measurements in order: alternating throughput rounds, latency, memory."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from benchmarks.transport.contender import Contender
from benchmarks.transport.latency import Load, measure_capacity, measure_latency
from benchmarks.transport.memory import measure_memory
from benchmarks.transport.rounds import Effort, Round, run_round
from benchmarks.transport.workload import StalledError, publish_backlog
from models.settings import Settings

T = TypeVar("T")
_TRIES = 3


class Bench:
    """Runs all measurements on one broker.

    Args:
        settings: Settings of the broker.
        logs: Folder of the contenders' logs.
        console: Console for progress.

    Attributes:
        stalled: Number of runs that stalled and were repeated, by contender.
    """

    def __init__(self, settings: Settings, logs: Path, console: Console) -> None:
        self._settings = settings
        self._logs = logs
        self._console = console
        self.stalled: dict[str, int] = {}

    async def rounds(
        self, contenders: Sequence[Contender], effort: Effort, rounds: int
    ) -> list[Round]:
        """Publish the backlog, then run every contender `rounds` times, in changing order."""
        self._console.print(f"publishing {effort.requests:,} requests")
        await publish_backlog(self._settings, effort.requests)
        found = []
        for number in range(rounds):
            turn = number % len(contenders)
            for contender in [*contenders[turn:], *contenders[:turn]]:
                result = await self._round(contender, effort, number)
                self._console.print(
                    f"round {number + 1} of {rounds}: {result.contender:18} "
                    f"{result.per_second:9,.0f}/s {result.cpu_us:7.1f} us CPU"
                )
                found.append(result)
        return found

    async def _round(self, contender: Contender, effort: Effort, number: int) -> Round:
        return await self._retried(
            contender,
            f"round-{number}",
            lambda name: run_round(contender, self._settings, effort, name, self._logs),
        )

    async def capacity(self, contender: Contender, offered: Load) -> float:
        """Maximum throughput next to the sender and the reader of the latency measurement."""
        self._console.print(f"capacity of {contender.name}, offered {offered.per_second:,.0f}/s")
        return await self._retried(
            contender,
            "capacity",
            lambda name: measure_capacity(contender, self._settings, offered, name, self._logs),
        )

    async def latency(self, contender: Contender, share: float, load: Load) -> dict[str, float]:
        """Latency under one load, which is `share` of the capacity."""
        self._console.print(f"latency of {contender.name} at {load.per_second:,.0f}/s")
        return await self._retried(
            contender,
            f"latency-{share:g}",
            lambda name: measure_latency(contender, self._settings, load, name, self._logs),
        )

    async def memory(self, contender: Contender, requests: int) -> dict[str, float]:
        """Memory while `requests` are processed."""
        self._console.print(f"memory of {contender.name} over {requests:,} requests")
        return await self._retried(
            contender,
            "memory",
            lambda name: measure_memory(contender, self._settings, requests, name, self._logs),
        )

    async def _retried(
        self, contender: Contender, what: str, run: Callable[[str], Awaitable[T]]
    ) -> T:
        """Run under a new name; a run that stalls is counted and repeated."""
        for attempt in range(_TRIES):
            try:
                return await run(f"{contender.name}-{what}-{attempt}")
            except StalledError as error:
                self.stalled[contender.name] = self.stalled.get(contender.name, 0) + 1
                self._console.print(f"[red]{error}")
        raise StalledError(f"{contender.name} stalled {_TRIES} times in {what}; see {self._logs}")
