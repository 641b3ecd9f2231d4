"""Runs the measurements in order: alternating throughput rounds, latency, memory."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.box import MARKDOWN
from rich.console import Console

from benchmarks.transport.contender import EXACTLY_ONCE, WEIR, Contender
from benchmarks.transport.latency.cell import Latency, Load, measure_capacity, measure_latency
from benchmarks.transport.latency.side_by_side import Cell, Loads
from benchmarks.transport.memory import measure_memory
from benchmarks.transport.rounds import Effort, Round, run_round
from benchmarks.transport.workload import StalledError, publish_backlog
from models.settings import Settings
from stream.cli.trace import trace_tables
from stream.trace.otlp import read
from stream.trace.summary import summarize

T = TypeVar("T")
_TRIES = 3


class Bench:
    """Runs all measurements on one broker.

    Args:
        settings: Settings of the broker.
        logs: Folder of the contenders' logs.
        console: Console for progress.
        traced: Whether Weir writes a trace of each measurement of latency, and what it says is
            printed.

    Attributes:
        stalled: Number of runs that stalled and were repeated, by contender.
    """

    def __init__(
        self, settings: Settings, logs: Path, console: Console, *, traced: bool = False
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._console = console
        self._traced = traced
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

    async def side_by_side(
        self, contenders: Sequence[Contender], loads: Loads, rounds: int, offered: float
    ) -> tuple[dict[str, float], list[Cell]]:
        """Capacities and latencies: per round and load every contender, in changing order."""
        capacity = {}
        if loads.share:
            for contender in contenders:
                capacity[contender.name] = await self.capacity(contender, loads.load(offered))
        cells = []
        names = [contender.name for contender in contenders]
        for number in range(rounds):
            turn = number % len(contenders)
            for load, rates in loads.of(names, capacity).items():
                for contender in [*contenders[turn:], *contenders[:turn]]:
                    if contender.name in rates:
                        rate = rates[contender.name]
                        what = f"{load.replace(',', '')}-{number}"
                        found = await self.latency(contender, what, loads.load(rate))
                        cells.append(
                            Cell(contender.name, load, rate, found, contender.transactional)
                        )
        return capacity, cells

    async def latency(self, contender: Contender, what: str, load: Load) -> Latency | None:
        """Latency under one load; None if it is too much."""
        found = await self._retried(
            contender,
            f"latency-{what}",
            lambda name: self._measure_latency(contender, load, name),
        )
        said = "overloaded"
        if found is not None:
            warm = f"warm in {found.warm_up_s:g} s" if found.warm else "not warm"
            said = f"p50 {found.p50_ms:7.1f} p99 {found.p99_ms:7.1f} ms, {warm}"
        self._console.print(f"{load.per_second:7,.0f}/s {contender.name:28} {said}")
        return found

    async def _measure_latency(self, contender: Contender, load: Load, name: str) -> Latency | None:
        settings, trace = self._settings, self._logs / f"{name}.jsonl"
        traced = self._traced and contender.name in (WEIR, EXACTLY_ONCE)
        if traced:
            settings = settings.override({"worker.trace": str(trace)})
        found = await measure_latency(contender, settings, load, name, self._logs)
        if traced and found is not None:
            for table in trace_tables(summarize(read(trace), found.began_ns), box=MARKDOWN):
                self._console.print(table)
        return found

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
