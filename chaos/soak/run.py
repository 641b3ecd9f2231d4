"""One soak run: all roles at a steady pace, and the account at the end."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.soak.prometheus_server import Prometheus, available, prometheus
from chaos.soak.roles import Role
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.topics import ensure_topics
from stream.metrics.scrape import WorkerSample, merge, scrape, scrape_feedback
from stream.verify.account import Account
from stream.verify.verifier import account

SAMPLE_S: Final = 5.0
READY_S: Final = 120.0
PARTITIONS: Final = 8
WINDOW_S: Final = 300.0
"""Longest attribution window, scaled so that all labels are final after five minutes."""
DRAIN_S: Final = 120.0
"""Time for the rest once the last request is published, in addition to a tenth of the run."""


@dataclass(frozen=True)
class Plan:
    """Parameters of a run.

    Attributes:
        minutes: Minutes for which requests are published.
        rate: Requests per second.
        workers: Number of intercept workers.
        guarantee: ``worker.guarantee``.
        rebuild_examples: ``trainer.rebuild_examples``.
        seed: Seed of the simulated traffic.
    """

    minutes: float = 60.0
    rate: float = 2000.0
    workers: int = 2
    guarantee: str = "exactly-once"
    rebuild_examples: int = 100_000
    seed: int = 1

    @property
    def requests(self) -> int:
        """Number of requests that are published."""
        return round(self.minutes * 60 * self.rate)


@dataclass
class Found:
    """Measurements of a run.

    Attributes:
        seconds: Time from the first request until all were decided.
        decided: Requests that workers decided or rejected.
        roles: All processes.
        merged: Metrics of all workers, summed, once all requests were decided.
        examples: Examples made of passed requests.
        alerts: Alerts that fired; None without a Prometheus.
        stop_s: Longest time from SIGTERM to exit of a role.
        late: Whether requests were undecided at the deadline.
        account: The verifier's account.
    """

    roles: list[Role] = field(default_factory=list)
    seconds: float = 0.0
    decided: int = 0
    merged: WorkerSample = field(default_factory=WorkerSample)
    examples: float = 0.0
    alerts: set[str] | None = None
    stop_s: float = 0.0
    late: bool = False
    account: Account | None = None


def ready(port: int) -> bool:
    """Whether the process reports that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except OSError:
        return False


class Soak:
    """Runs a plan on running brokers.

    Args:
        plan: Parameters of the run.
        broker: Apache Kafka, or the embedded broker, which supports at-least-once only.
        folder: Folder of logs, registry and store.
        report: Called with a line of text about the progress.
    """

    def __init__(
        self,
        plan: Plan,
        broker: KafkaCluster | EmbeddedBroker,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._broker = broker
        self._folder = folder
        self._report = report
        scale = max(task.window_s for task in Settings().tasks) / WINDOW_S
        client = broker.client.model_dump(exclude_unset=True)
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
        """Run it, stop everything, and account for every request."""
        found = Found()
        await ensure_topics(self.settings.kafka, self.settings.topics)
        async with AsyncExitStack() as stack:
            await self._start(found, stack)
            server = stack.enter_context(self._prometheus(found))
            self._report(f"{len(found.roles)} processes are ready")
            async with self._publisher():
                await self._watch(found)
            found.merged = merge((await scrape(self._ports(found, "worker"))).values())
            if server is not None:
                found.alerts = server.fired(found.seconds + READY_S)
            for role in found.roles:
                if role.child is not None:
                    found.stop_s = max(found.stop_s, await role.stop())
        self._report("all processes have stopped; accounting for every request")
        found.account = await account(self.settings)
        return found

    async def _start(self, found: Found, stack: AsyncExitStack) -> None:
        pid = self._broker.pid if isinstance(self._broker, EmbeddedBroker) else self._broker.pids[1]
        assert pid is not None
        found.roles.append(Role("kafka", "kafka", pid))
        names = [f"worker-{number + 1}" for number in range(self._plan.workers)]
        commands: dict[str, tuple[str, ...]] = dict.fromkeys(names, ("worker",))
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
        """Wait until workers and feedback report that they are ready."""
        waiting = [role for role in found.roles if role.service in {"worker", "feedback"}]
        while waiting:
            for role in found.roles:
                if role.child is not None:
                    role.child.check()
            waiting = [role for role in waiting if not await asyncio.to_thread(ready, role.port)]
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
        """Publish requests at a steady pace, and simulate the outcomes of those that pass."""
        plan = self._plan
        arguments = [
            *("publish", "simulated", "--requests", str(plan.requests), "--rate", str(plan.rate)),
            *("--seed", str(plan.seed), "--time-scale", str(self._scale)),
        ]
        log = self._folder / "publisher.log"
        async with ChildProcess("publisher", arguments, log, self.settings.environment()) as child:
            yield child

    async def _watch(self, found: Found) -> None:
        """Sample until every request is decided, the deadline passes, or a process exits."""
        start = time.monotonic()
        deadline = start + self._plan.minutes * 66 + DRAIN_S
        next_report_s = 60.0
        while not any(role.ended for role in found.roles):
            await asyncio.sleep(SAMPLE_S)
            found.seconds = second = time.monotonic() - start
            for role in found.roles:
                role.sample(second)
            samples = (await scrape(self._ports(found, "worker"))).values()
            found.decided = round(sum(sample.requests for sample in samples))
            feedback = await scrape_feedback(self._ports(found, "feedback")[0])
            if feedback is not None:
                found.examples = feedback.examples
            if second >= next_report_s:
                next_report_s += 60.0
                self._report(f"{found.decided:,} decided, {found.examples:,.0f} examples")
            if found.decided >= self._plan.requests:
                return
            if time.monotonic() > deadline:
                found.late = True
                return

    @staticmethod
    def _ports(found: Found, service: str) -> list[int]:
        return [role.port for role in found.roles if role.service == service]
