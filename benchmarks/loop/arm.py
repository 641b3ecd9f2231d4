"""One deployment in a drifting market: its processes, and what they decided with which model."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.demo.demo import DEMO_GATES
from stream.kafka.reader import TopicReader
from stream.kafka.topics import ensure_topics
from stream.messages import Decision, sequence_number
from stream.metrics.scrape import WorkerSample, merge, read_metrics, scrape
from trainer.simulation.world import DAY_MS

WORKERS: Final = 2
POLL_S: Final = 0.5
STALLED_S: Final = 1200.0
"""An arm fails after this time without what it waits for, such as the last rebuild."""
RESULTS: Final = frozenset({"published", "held", "refused"})
"""Results of a rebuild that has made a candidate."""
DAY_REQUESTS: Final = 200_000
"""Requests of a simulated day."""
WEEK_S: Final = 7 * DAY_MS / 1000

TRAINING: Final = {
    "training.teacher.epochs": 2,
    "training.teacher.min_steps": 1,
    "training.teacher.learning_rate": 1e-3,
    "training.teacher.swag_learning_rate": 1.5e-4,
}
"""Rebuilds of so few rows overfit in three epochs at a higher rate."""


@dataclass(frozen=True, slots=True)
class Market:
    """What all arms have in common.

    Attributes:
        requests_per_second: Pace of the requests.
        rebuilds: Rebuilds, those included that the gates hold back; the last one that serves is
            evaluated.
        drift: Radians per :data:`DAY_REQUESTS` by which the effects turn.
        start: Number of the first request; the first model was trained on 0 and the following.
        rebuild_examples: Newly matured examples that start a rebuild.
        rebuild_rows: Maximum number of examples that a rebuild learns from, the newest ones.
        settle: Requests after the last swap that are not evaluated.
        evaluated: Requests that are evaluated.
        week_s: A week's attribution window lasts this long.
        seed: Seed of the market; that of the first model's is 1.
    """

    requests_per_second: float = 1000.0
    rebuilds: int = 3
    drift: float = 0.2
    start: int = 1_000_000
    rebuild_examples: int = 12_000
    rebuild_rows: int = 40_000
    settle: int = 2_000
    evaluated: int = 30_000
    week_s: float = 8.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Arm:
    """Settings under comparison.

    Attributes:
        name: Name in the report.
        overrides: Settings that differ from the defaults, by dotted key.
    """

    name: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Played:
    """What an arm decided.

    Attributes:
        settings: The arm's settings.
        rebuilds: Rebuilds by what the gates said: ``published``, ``held`` or ``refused``.
        models: Versions in the order in which they served, the frozen first one included.
        passed: Verdicts of the last version, by number of the request in the simulated stream.
        seconds: Time from the first process to the last verdict.
    """

    settings: Settings
    rebuilds: dict[str, int]
    models: tuple[str, ...]
    passed: dict[int, bool]
    seconds: float


class LoopError(RuntimeError):
    """An arm that did not come to its end; names what it waited for, and its logs."""


async def play(arm: Arm, market: Market, folder: Path) -> Played:
    """Run one arm to its end.

    Args:
        arm: Its settings.
        market: Traffic, and when the arm ends.
        folder: New folder of logs, registry and store; what is in it is removed.

    Raises:
        LoopError: If the next rebuild, or the end, does not come.
        ChildError: If a process fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = arm_settings(arm, market, folder)
    port = int(settings.kafka.bootstrap.rpartition(":")[2])
    with EmbeddedBroker(folder / "broker.log", port=port):
        await ensure_topics(settings.kafka, settings.topics)
        async with AsyncExitStack() as processes:
            return await _Deployment(settings, market, folder, processes).run()


class _Deployment:
    """The processes of an arm."""

    def __init__(
        self, settings: Settings, market: Market, folder: Path, stack: AsyncExitStack
    ) -> None:
        self._settings, self._market, self._folder, self._stack = settings, market, folder, stack
        self._ports = [free_port() for _ in range(WORKERS)]
        self._trainer_port = free_port()
        self._models: list[str] = []
        self._rebuilds: dict[str, int] = {}
        self._children: list[ChildProcess] = []

    async def run(self) -> Played:
        """Run until the version of the last rebuild has decided enough."""
        began, market = time.monotonic(), self._market
        for number, port in enumerate(self._ports, 1):
            await self._start(f"worker-{number}", "worker", {"worker.metrics_port": port})
        await self._start("feedback", "worker --role feedback")
        metrics = {"trainer.metrics_port": self._trainer_port}
        trainer = await self._start("trainer", "trainer --quick", metrics)
        await self._wait(self._serves_another, "a model that serves")
        publisher = await self._start("publisher", self._publish())
        await self._wait(self._last_serves, "the last rebuild")
        swapped_ms = round(time.time() * 1000)
        await self._stop(trainer)
        enough = (await self._workers()).requests + market.settle + market.evaluated
        await self._until(lambda now: now.requests >= enough, f"{market.evaluated:,} requests")
        await self._stop(publisher)
        await self._until(lambda now: now.lag == 0, "all requests are decided")
        passed = await read_verdicts(self._settings, self._models[-1], market.start, swapped_ms)
        chosen = sorted(passed)[market.settle :][: market.evaluated]
        return Played(
            self._settings,
            self._rebuilds,
            tuple(self._models),
            {number: passed[number] for number in chosen},
            time.monotonic() - began,
        )

    def _publish(self) -> str:
        market = self._market
        return (
            f"publish simulated --requests {10**8} --rate {market.requests_per_second} "
            f"--seed {market.seed} --drift {market.drift} --start {market.start} "
            f"--time-scale {WEEK_S / market.week_s}"
        )

    async def _start(
        self, name: str, command: str, overrides: Mapping[str, Any] = MappingProxyType({})
    ) -> ChildProcess:
        environment = self._settings.override(overrides).environment()
        log = self._folder / f"{name}.log"
        child = ChildProcess(name, command.split(), log, environment)
        self._children.append(child)
        return await self._stack.enter_async_context(child)

    async def _stop(self, child: ChildProcess) -> None:
        self._children.remove(child)
        await child.stop()

    async def _serves_another(self) -> bool:
        """Whether all workers serve one version that has not served before; notes it."""
        serving = [sample.model for sample in (await scrape(self._ports)).values()]
        if len(serving) < WORKERS or len(set(serving)) > 1 or serving[0] in {"", *self._models}:
            return False
        self._models.append(serving[0])
        return True

    async def _last_serves(self) -> bool:
        """Whether the rebuilds have ended, and what they published serves."""
        await self._serves_another()
        samples = await asyncio.to_thread(read_metrics, self._trainer_port) or []
        results = {
            sample.labels["result"]: int(sample.value)
            for sample in samples
            if sample.name == "weir_trainer_rebuilds_total" and sample.labels["result"] in RESULTS
        }
        published = results.get("published", 0)
        self._rebuilds = results
        ended = published > 0 and sum(results.values()) >= self._market.rebuilds
        return ended and len(self._models) == 1 + published

    async def _until(self, reached: Callable[[WorkerSample], bool], what: str) -> None:
        async def now() -> bool:
            return reached(await self._workers())

        await self._wait(now, what)

    async def _wait(self, reached: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = time.monotonic() + STALLED_S
        while not await reached():
            for child in self._children:
                child.check()
            if time.monotonic() > deadline:
                raise LoopError(f"not within {STALLED_S:g} s: {what}; see {self._folder}")
            await asyncio.sleep(POLL_S)

    async def _workers(self) -> WorkerSample:
        return merge((await scrape(self._ports)).values())


def arm_settings(arm: Arm, market: Market, folder: Path) -> Settings:
    """The defaults with the arm's settings, and with a broker and folders of its own."""
    return Settings().override(
        {
            "kafka.bootstrap": f"127.0.0.1:{free_port()}",
            # the embedded broker waits half the session timeout before a group's first join
            "kafka.session_timeout_s": 6.0,
            "model.registry": str(folder / "registry"),
            "trainer.store": str(folder / "examples"),
            "trainer.rebuild_examples": market.rebuild_examples,
            "trainer.max_rebuild_rows": market.rebuild_rows,
            **{f"trainer.gates.{limit}": value for limit, value in DEMO_GATES.items()},
            "feedback.time_scale": WEEK_S / market.week_s,
            "feedback.lateness_s": 2.0,
            **TRAINING,
            **arm.overrides,
        }
    )


async def read_verdicts(
    settings: Settings, model: str, start: int, after_ms: int
) -> dict[int, bool]:
    """Whether each request passed that a version decided, by its number in the stream.

    Args:
        settings: Broker and topics.
        model: The version.
        start: Number of the first request that was published.
        after_ms: Requests before this time may be left out.
    """
    passed = {}
    for topic in (settings.topics.passed, settings.topics.blocked):
        async with TopicReader(settings.kafka, topic) as reader:
            await reader.from_time(after_ms)
            async for _, records in reader.batches():
                for record in records:
                    if Decision.from_headers(record.headers).model == model:
                        number = start + sequence_number(record.headers)
                        passed[number] = topic == settings.topics.passed
    return passed
