"""One soak: all roles at a steady pace, and the account at the end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer

from models.kafka import client_options, topic_partitions
from models.settings import Settings
from stream.account import Account
from stream.kafka_cluster import KafkaCluster
from stream.processes import ChildProcess, free_port
from stream.scrape import WorkerSample, merge, scrape, scrape_feedback
from stream.topics import ensure_topics
from stream.verify import account
from tests.deploy.prometheus_server import Prometheus, available, prometheus
from tests.soak.roles import Role

SAMPLE_S: Final = 5.0
READY_S: Final = 120.0
PARTITIONS: Final = 8
WINDOW_S: Final = 300.0
"""The longest attribution window, so that the join is full after five minutes of an hour."""
DRAIN_S: Final = 120.0
"""How long the rest may take once the last request is published, beyond a tenth of the run."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        minutes: How long requests are published.
        rate: Requests per second.
        workers: Intercept workers.
        guarantee: ``worker.guarantee``.
        rebuild_examples: ``trainer.rebuild_examples``.
        seed: Of the simulated traffic.
    """

    minutes: float = 60.0
    rate: float = 2000.0
    workers: int = 2
    guarantee: str = "exactly-once"
    rebuild_examples: int = 100_000
    seed: int = 1

    @property
    def requests(self) -> int:
        """Published in all."""
        return round(self.minutes * 60 * self.rate)


@dataclass
class Found:
    """What was seen.

    Attributes:
        seconds: From the first request until all were decided.
        published: Requests on the input topic.
        roles: All processes.
        merged: The workers' metrics, added up, when all was decided.
        pending: Requests that wait in the join, by second.
        examples: Examples emitted.
        alerts: That fired; None without a Prometheus.
        stop_s: Longest time that a role took to stop.
        late: Whether requests were left undecided at the deadline.
        account: The verifier's.
    """

    roles: list[Role] = field(default_factory=list)
    seconds: float = 0.0
    published: int = 0
    merged: WorkerSample = field(default_factory=WorkerSample)
    pending: list[tuple[float, float]] = field(default_factory=list)
    examples: float = 0.0
    alerts: set[str] | None = None
    stop_s: float = 0.0
    late: bool = False
    account: Account | None = None


class Soak:
    """Plays a plan on brokers that run.

    Args:
        plan: What.
        cluster: Brokers.
        folder: Logs, registry and store go here.
        say: Told how it goes.
    """

    def __init__(
        self, plan: Plan, cluster: KafkaCluster, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._cluster = cluster
        self._folder = folder
        self._say = say
        scale = max(task.window_s for task in Settings().tasks) / WINDOW_S
        client = cluster.client.model_dump(exclude_unset=True)
        self.settings = Settings().override(
            {
                **{f"kafka.{key}": value for key, value in client.items()},
                "kafka.partitions": PARTITIONS,
                "worker.guarantee": plan.guarantee,
                "worker.expected": plan.workers,
                "feedback.time_scale": scale,
                "model.registry": str(folder / "registry"),
                "trainer.store": str(folder / "store"),
                "trainer.quick": True,
                "trainer.rebuild_examples": plan.rebuild_examples,
            }
        )
        self._scale = scale

    async def play(self) -> Found:
        """Play it, stop everything, and account for every request."""
        found = Found()
        await ensure_topics(self.settings.kafka, self.settings.topics)
        async with AsyncExitStack() as stack:
            await self._start(found, stack)
            server = stack.enter_context(self._prometheus(found))
            self._say(f"{len(found.roles)} processes are ready")
            async with self._publisher():
                await self._watch(found)
            found.merged = merge((await scrape(self._ports(found, "worker"))).values())
            if server is not None:
                found.alerts = server.fired(found.seconds + READY_S)
            for role in found.roles:
                if role.child is not None:
                    found.stop_s = max(found.stop_s, await role.stop())
        self._say("all processes have stopped; accounting for every request")
        found.account = await account(self.settings)
        return found

    async def _start(self, found: Found, stack: AsyncExitStack) -> None:
        for pid in self._cluster.pids.values():
            found.roles.append(Role("kafka", "kafka", pid))
        names = [f"worker-{number + 1}" for number in range(self._plan.workers)]
        commands = dict.fromkeys(names, ("worker",))
        commands |= {"feedback": ("worker", "--role", "feedback"), "trainer": ("trainer",)}
        for name, command in commands.items():
            port = free_port()
            section = "trainer" if name == "trainer" else "worker"
            mine = self.settings.override({f"{section}.metrics_port": port})
            log = self._folder / f"{name}.log"
            child = ChildProcess(name, command, log, mine.environment())
            await stack.enter_async_context(child)
            service = name.partition("-")[0]
            found.roles.append(Role(name, service, child.pid, child, port))
        await asyncio.wait_for(self._ready(found), READY_S)

    async def _ready(self, found: Found) -> None:
        """Wait until workers and feedback work: all partitions are owned."""
        while True:
            samples = await scrape(self._ports(found, "worker"))
            feedback = await scrape_feedback(self._ports(found, "feedback")[0])
            models = [sample.model for sample in samples.values()]
            if len(models) == self._plan.workers and all(models) and feedback is not None:
                return
            for role in found.roles:
                if role.child is not None:
                    role.child.check()
            await asyncio.sleep(0.5)

    @contextmanager
    def _prometheus(self, found: Found) -> Iterator[Prometheus | None]:
        if not available():
            yield None
            return
        targets = {role.name: role.port for role in found.roles if role.port}
        with prometheus(targets, self._folder / "prometheus", every_s=5) as server:
            yield server

    @asynccontextmanager
    async def _publisher(self) -> AsyncIterator[ChildProcess]:
        """Requests at a steady pace, and the world that answers those that pass."""
        plan = self._plan
        arguments = [
            *("publish", "simulated", "--requests", str(plan.requests), "--rate", str(plan.rate)),
            *("--seed", str(plan.seed), "--time-scale", str(self._scale)),
        ]
        log = self._folder / "publisher.log"
        async with ChildProcess("publisher", arguments, log, self.settings.environment()) as child:
            yield child

    async def _watch(self, found: Found) -> None:
        """Sample until every request is decided, or it takes too long, or a process ends."""
        start = time.monotonic()
        deadline = start + self._plan.minutes * 66 + DRAIN_S
        next_word = 60.0
        while not any(role.ended for role in found.roles):
            await asyncio.sleep(SAMPLE_S)
            found.seconds = second = time.monotonic() - start
            for role in found.roles:
                role.look(second)
            found.published = await self._published()
            samples = (await scrape(self._ports(found, "worker"))).values()
            decided = sum(sample.requests for sample in samples)
            feedback = await scrape_feedback(self._ports(found, "feedback")[0])
            if feedback is not None:
                found.pending.append((second, feedback.pending))
                found.examples = feedback.examples
            if second >= next_word:
                next_word += 60.0
                self._say(
                    f"{found.published:,} published, {decided:,.0f} decided, "
                    f"{found.examples:,.0f} examples"
                )
            if found.published >= self._plan.requests and decided >= found.published:
                return
            if time.monotonic() > deadline:
                found.late = True
                return

    async def _published(self) -> int:
        topic = self.settings.topics.requests
        partitions = (await topic_partitions(self.settings.kafka, topic))[topic]
        async with AIOKafkaConsumer(**client_options(self.settings.kafka)) as consumer:
            return sum((await consumer.end_offsets(partitions)).values())

    @staticmethod
    def _ports(found: Found, service: str) -> list[int]:
        return [role.port for role in found.roles if role.service == service]
