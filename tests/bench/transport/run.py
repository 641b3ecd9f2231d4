"""All rounds: the contenders take turns, each round in another order."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from models.settings import Settings
from tests.bench.transport.contender import Contender
from tests.bench.transport.rounds import Effort, Round, StalledError, run_round
from tests.bench.transport.workload import publish_backlog


class Bench:
    """Runs rounds on one broker.

    Args:
        settings: They name the broker.
        effort: How much is measured.
        logs: Folder for the contenders' logs.
        console: Says how far it is.

    Attributes:
        stalled: Rounds per contender that stood still and were run again.
    """

    def __init__(self, settings: Settings, effort: Effort, logs: Path, console: Console) -> None:
        self._settings = settings
        self._effort = effort
        self._logs = logs
        self._console = console
        self.stalled: dict[str, int] = {}

    async def run(self, contenders: Sequence[Contender], rounds: int) -> list[Round]:
        """Publish the backlog, then run every contender `rounds` times."""
        self._console.print(f"publishing {self._effort.requests:,} requests")
        await publish_backlog(self._settings, self._effort.requests)
        found = []
        for number in range(rounds):
            turn = number % len(contenders)
            for contender in [*contenders[turn:], *contenders[:turn]]:
                result = await self._round(contender, number)
                self._console.print(
                    f"round {number + 1} of {rounds}: {result.contender:18} "
                    f"{result.per_second:9,.0f}/s {result.cpu_us:7.1f} us CPU"
                )
                found.append(result)
        return found

    async def _round(self, contender: Contender, number: int) -> Round:
        while True:
            attempt = self.stalled.get(contender.name, 0)
            name = f"{contender.name}-{number}-{attempt}"
            try:
                return await run_round(contender, self._settings, self._effort, name, self._logs)
            except StalledError as error:
                self._console.print(f"[red]{error}; the round is run again")
                self.stalled[contender.name] = attempt + 1
                if attempt == 5:
                    raise
