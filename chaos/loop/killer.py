"""Carries out the kills of a run at their moments."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from chaos.loop.kills import Kill, Moment, Target
from chaos.loop.roles import FEEDBACK, TRAINER, Roles
from models.errors import UserError
from models.settings import Settings
from stream.messages.models_topic import read_history
from trainer.store.example_store import OUTCOMES

#: A run is given up after waiting this long for one thing.
LIMIT_S: Final = 900.0
#: Polls of states that last long, and of those that last milliseconds.
SLOW_S: Final = 0.5
FAST_S: Final = 0.003
#: Time that moments have after the stretch in which they are expected.
LATE_S: Final = 30.0
#: Files of published versions, and results of rebuilds.
VERSIONS: Final = "2*/*"
RESULTS: Final = "rebuilds/*/result.json"


class StuckError(RuntimeError):
    """The loop did not get on; the message says what was waited for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the stretches of a round take: what shares of a kill's moment refer to.

    Attributes:
        stream_s: Seconds over which requests and outcomes are published.
        rebuild_s: Seconds of each rebuild, as measured without kills.
    """

    stream_s: float
    rebuild_s: Sequence[float] = ()


class Killer:
    """Kills processes.

    Args:
        settings: Settings of the processes.
        roles: The processes.
        kills: The kills of all rounds.
        pace: How long the stretches take.
        report: Called with a line of text for every kill.

    Attributes:
        done: Kills that hit their process, in order.
        missed: Kills whose moment did not come, or whose process did not run.
    """

    def __init__(
        self,
        settings: Settings,
        roles: Roles,
        kills: Sequence[Kill],
        pace: Pace,
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._roles = roles
        self._kills = kills
        self._pace = pace
        self._report = report
        self._store = Path(settings.trainer.store)
        self._registry = Path(settings.model.registry)
        self.done: list[Kill] = []
        self.missed: list[Kill] = []

    @asynccontextmanager
    async def during(self, number: int, *moments: Moment) -> AsyncIterator[None]:
        """Carry out the kills of a round at these moments, beginning with the block.

        A kill whose moment has not come within ``LATE_S`` of its end is missed.
        """
        kills = [kill for kill in self._kills if kill.round == number and kill.moment in moments]
        tasks = {asyncio.create_task(self._carry_out(kill)): kill for kill in kills}
        try:
            yield
            if tasks:
                await asyncio.wait(tasks, timeout=LATE_S)
        finally:
            self.missed += [kill for task, kill in tasks.items() if not task.done()]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _carry_out(self, kill: Kill) -> None:
        """Wait for the moment of a kill, and kill."""
        stream_s, rebuilds = self._pace.stream_s, kill.round + 1
        match kill.moment:
            case Moment.STREAMING:
                await asyncio.sleep(kill.share * stream_s)
            case Moment.REBUILDING:
                await asyncio.sleep(kill.share * self._pace.rebuild_s[kill.round])
            case Moment.BETWEEN_COMMITS:
                await asyncio.sleep(kill.share * stream_s / 2)
                commits = f"{OUTCOMES}/_delta_log/*.json"
                await _reach(self._store, commits, _count(self._store, commits) + 1)
            case Moment.PUBLISHING:
                await _reach(self._registry, VERSIONS, _count(self._registry, VERSIONS) + 1)
            case Moment.CONCLUDED:
                await _reach(self._store, RESULTS, rebuilds)
            case Moment.ANNOUNCED:
                await until(lambda: self._announced(rebuilds), "the announcement", FAST_S)
        await self._kill(kill)

    async def _kill(self, kill: Kill) -> None:
        if kill.target is Target.REBUILD:
            if not self._roles.kill_rebuild():
                self.missed.append(kill)
                return
        elif kill.target is Target.WORKER:
            workers = self._roles.workers
            await self._roles.kill(workers[int(kill.pick * len(workers))])
        else:
            await self._roles.kill(FEEDBACK if kill.target is Target.FEEDBACK else TRAINER)
        self.done.append(kill)
        self._report(f"{len(self.done)}: kill -9 of {kill.target}, {kill.moment}")

    async def _announced(self, count: int) -> bool:
        try:
            return len((await read_history(self._settings)).announced) >= count
        except (KafkaError, OSError, UserError):
            return False


def _count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


async def _reach(folder: Path, pattern: str, count: int) -> None:
    """Wait, with short polls, until so many files match."""

    async def reached() -> bool:
        return _count(folder, pattern) >= count

    await until(reached, f"{count} times {pattern} in {folder}", FAST_S)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, poll_s: float = SLOW_S
) -> None:
    """Wait until a condition holds.

    Raises:
        StuckError: If it does not within ``LIMIT_S``.
    """
    deadline = time.monotonic() + LIMIT_S
    while not await condition():
        if time.monotonic() > deadline:
            raise StuckError(f"waited {LIMIT_S:.0f} s for {what}")
        await asyncio.sleep(poll_s)
