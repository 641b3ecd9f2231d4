"""One chaos run: workers under traffic, a schedule of failures, and the account at the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from chaos.fleet import Fleet
from chaos.schedule import Dose, Event, Kind, Target, draw
from chaos.traffic import Traffic
from chaos.watch import StalledError, Watcher, until
from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.topics import ensure_topics
from stream.verify.account import Account, FaultKind
from stream.verify.verifier import account

SESSION_S: Final = 6.0
PARTITIONS: Final = 6
#: Approximate time in which an extra worker starts, joins and is assigned partitions.
JOIN_S: Final = 8.0
#: The run is stopped after this time without progress.
PROGRESS_S: Final = 120.0
SYNC_S: Final = 120.0
REJOIN_S: Final = 60.0
#: How long transactions of killed workers may stay open at the end.
OPEN_S: Final = 90.0


@dataclass(frozen=True)
class Scenario:
    """Parameters of a run.

    Attributes:
        name: Name in the record.
        seed: Seed of failures and traffic.
        requests: Minimum number of requests to publish.
        dose: Number of failures of each kind.
        workers: Number of worker processes.
        nodes: Number of Kafka nodes; from three on with min ISR 2.
        guarantee: ``worker.guarantee``.
        pace: Requests per second while failures go on.
    """

    name: str
    seed: int
    requests: int
    dose: Dose
    workers: int = 2
    nodes: int = 3
    guarantee: str = "exactly-once"
    pace: float = 1000.0


@dataclass
class Zombie:
    """A worker that was suspended past the session timeout."""

    name: str
    frozen_s: float
    expelled: bool
    rejoined_s: float | None = None


@dataclass
class Outage:
    """A node's failure, and the time until every partition made progress again."""

    event: str
    node: int
    progress_s: float | None = None


@dataclass
class Log:
    """Events of a run and their consequences."""

    events: Counter[Kind] = field(default_factory=Counter)
    zombies: list[Zombie] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    stalled: str = ""
    drained_s: float = 0.0
    seconds: float = 0.0


class Run:
    """Runs a scenario.

    Args:
        scenario: The scenario.
        cluster: Running brokers.
        folder: Folder of the workers' logs.
        report: Called with a line of text for every event.
    """

    def __init__(
        self, scenario: Scenario, cluster: KafkaCluster, folder: Path, report: Callable[[str], None]
    ) -> None:
        self.scenario = scenario
        self.settings = _settings(scenario, cluster)
        self.log = Log()
        self.fleet = Fleet(self.settings, folder)
        self.watcher = Watcher(self.settings)
        self.traffic = Traffic(self.settings, scenario.seed, scenario.requests, scenario.pace)
        self._cluster = cluster
        self._report = report
        self._actions: dict[Kind, Callable[[Event], Coroutine[Any, Any, None]]] = {
            Kind.KILL: self._kill,
            Kind.KILL_STARTING: self._kill_starting,
            Kind.KILL_REBALANCING: self._kill_rebalancing,
            Kind.FREEZE: self._freeze,
            Kind.STOP: self._stop,
            Kind.SCALE: self._scale,
            Kind.BROKER_KILL: self._fail_node,
            Kind.BROKER_STOP: self._fail_node,
        }

    async def play(self) -> Account:
        """Run everything, and account for every request after the last worker has stopped."""
        await ensure_topics(self.settings.kafka, self.settings.topics)
        start = time.monotonic()
        async with AsyncExitStack() as stack:
            for part in (self.traffic, self.fleet, self.watcher):
                await stack.enter_async_context(part)
            try:
                await self._fail()
                await self.traffic.finish()
                self._report("no more failures; waiting until everything is committed")
                self.log.drained_s = await self.watcher.drained(PROGRESS_S)
                await self._stable_group()
            except StalledError as error:
                self.log.stalled = str(error)
            for worker in list(self.fleet.workers):
                await self.fleet.stop(worker)
        self.log.seconds = time.monotonic() - start
        self._report("everything has stopped; accounting for every request")
        return await self._account()

    async def _fail(self) -> None:
        for _ in range(self.scenario.workers):
            await self.fleet.start()
        events = draw(self.scenario.seed, self.scenario.dose)
        since = dict(self.watcher.committed)
        for number, event in enumerate(events, 1):
            every = event.settled or number == 1
            waited = await self.watcher.progress(since, every=every, within_s=PROGRESS_S)
            self.traffic.check()
            await asyncio.sleep(event.delay_s)
            since = dict(self.watcher.committed)
            self._report(
                f"{number}/{len(events)} {event}: {waited:.1f} s to progress, "
                f"{sum(since.values()):,} of {self.traffic.acknowledged:,} committed, "
                f"{len(self.fleet.crashes)} crashes"
            )
            await self._actions[event.kind](event)
            self.log.events[event.kind] += 1
        await self.watcher.progress(since, every=True, within_s=PROGRESS_S)

    async def _kill(self, event: Event) -> None:
        await self.fleet.kill(self.fleet.pick(event.pick))
        await self.fleet.start()

    async def _kill_starting(self, event: Event) -> None:
        extra = await self.fleet.start()
        await asyncio.sleep(event.moment * JOIN_S)
        await self.fleet.kill(extra)

    async def _kill_rebalancing(self, event: Event) -> None:
        victim = self.fleet.pick(event.pick)
        await self.fleet.start()
        await asyncio.sleep(event.moment * JOIN_S)
        await self.fleet.kill(victim)

    async def _stop(self, event: Event) -> None:
        await self._stable_group()
        await self.fleet.stop(self.fleet.pick(event.pick))
        await self.fleet.start()

    async def _scale(self, event: Event) -> None:
        await self.fleet.start()
        await self._stable_group()
        since = dict(self.watcher.committed)
        await self.watcher.progress(since, every=True, within_s=PROGRESS_S)
        await self.fleet.stop(self.fleet.pick(event.pick))

    async def _freeze(self, event: Event) -> None:
        """Suspend a worker: the group must expel and fence it, and it must rejoin by itself."""
        victim = self.fleet.pick(event.pick)
        await self._stable_group()
        seconds = SESSION_S * (1.3 + event.moment)
        since = dict(self.watcher.committed)
        frozen = asyncio.create_task(self.fleet.freeze(victim, seconds))
        await asyncio.sleep(seconds - 1.0)
        expelled = await self.watcher.members() != len(self.fleet.workers)
        await frozen
        zombie = Zombie(victim.name, round(seconds, 1), expelled)
        self.log.zombies.append(zombie)
        await self.watcher.progress(since, every=False, within_s=PROGRESS_S)
        seconds = await self._stable_group()
        if self._alive(victim):
            zombie.rejoined_s = round(seconds, 1)

    async def _stable_group(self) -> float:
        """Wait until the group has as many members as there are workers."""

        async def complete() -> bool:
            return await self.watcher.members() == len(self.fleet.workers)

        def what() -> str:
            return f"{len(self.fleet.workers)} workers in the group"

        return await until(complete, what, REJOIN_S)

    def _alive(self, worker: ChildProcess) -> bool:
        return worker in self.fleet.workers and worker.returncode is None

    async def _fail_node(self, event: Event) -> None:
        """Stop a node: every partition must make progress again, with the node or without it."""
        node = await self._node(event)
        outage = Outage(str(event), node)
        self.log.outages.append(outage)
        since, start = dict(self.watcher.committed), time.monotonic()
        end = self._cluster.kill if event.kind is Kind.BROKER_KILL else self._cluster.terminate
        await asyncio.to_thread(end, node)
        if event.bounce:
            restart = asyncio.create_task(asyncio.to_thread(self._cluster.start_node, node))
            await self.watcher.progress(since, every=True, within_s=PROGRESS_S)
            outage.progress_s = round(time.monotonic() - start, 1)
            await restart
        else:
            await self.watcher.progress(since, every=True, within_s=PROGRESS_S)
            outage.progress_s = round(time.monotonic() - start, 1)
            await asyncio.to_thread(self._cluster.start_node, node)
        await self.watcher.in_sync(SYNC_S)

    async def _node(self, event: Event) -> int:
        """The node to stop; the controller if no node has the target's role."""
        if event.target is Target.GROUP:
            return await self.watcher.coordinator()
        topic, partitions = self.settings.topics.requests, PARTITIONS
        if event.target is Target.TRANSACTIONS:
            topic, partitions = "__transaction_state", 8
        if event.target is not Target.CONTROLLER:
            partition = int(event.pick * partitions)
            try:
                return await asyncio.to_thread(self._cluster.leader, topic, partition)
            except KafkaError as error:
                self._report(f"{topic}[{partition}]: {error!r}; the controller instead")
        return await asyncio.to_thread(self._cluster.controller)

    async def _account(self) -> Account:
        """The account, once the transactions that are still open have ended or timed out."""
        deadline = time.monotonic() + OPEN_S
        while True:
            found = await account(self.settings)
            if not found.counts[FaultKind.OPEN] or time.monotonic() > deadline:
                return found
            await asyncio.sleep(1.0)


def _settings(scenario: Scenario, cluster: KafkaCluster) -> Settings:
    values: dict[str, Any] = {
        f"kafka.{field}": value
        for field, value in cluster.client.model_dump(exclude_unset=True).items()
    }
    values |= {
        "kafka.partitions": PARTITIONS,
        "kafka.session_timeout_s": SESSION_S,
        "worker.guarantee": scenario.guarantee,
        "worker.max_chunk_records": 500,
        "worker.max_value_bytes": 20_000,
    }
    return Settings().override(values)
