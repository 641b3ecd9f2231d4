"""The demo: broker, topics, traffic, workers, feedback, and at the end a strict account.

Every part runs as the very process that `weir` starts in production; the demo only starts them,
watches their metrics, and verifies from outside (:mod:`stream.verify`) that every request came
out exactly once and that the achieved rate is the target.
"""

import asyncio
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from models.kafka import client_options
from models.settings import Settings
from stream.broker import EmbeddedBroker
from stream.dashboard import Dashboard
from stream.processes import ChildProcess, free_port
from stream.replay import write_summary
from stream.scrape import merge, scrape
from stream.topics import ensure_topics
from stream.verify import Account, Fate, account

#: The achieved rate may miss the target by this share after warm-up.
RATE_TOLERANCE: Final = 0.005
#: Requests before the rate is judged, and consecutive requests in a window.
WARM_UP_REQUESTS: Final = 1000
WINDOW_REQUESTS: Final = 10_000
#: The demo gives up when nothing has moved for this long.
STALLED_S: Final = 60.0
#: A week's attribution window lasts this long in the demo.
WEEK_S: Final = 8.0


class DemoError(RuntimeError):
    """The demo could not run to its end; says what stood still and where to look."""


@dataclass(frozen=True)
class DemoOptions:
    """What `weir demo` was asked for.

    Attributes:
        folder: Logs, registry, examples and summary go here.
        workers: Intercept workers in one consumer group.
        requests: Simulated requests to publish.
        requests_per_second: Their pace (0: as fast as possible).
        backlog: Publish everything before the first worker starts.
        jd: Folder of real JD requests to publish instead of simulated ones.
        rebuild: Run the trainer too, and go on until a rebuilt model has served.
        seed: Of the simulated traffic.
    """

    folder: Path
    workers: int = 2
    requests: int = 60_000
    requests_per_second: float = 1500.0
    backlog: bool = False
    jd: Path | None = None
    rebuild: bool = False
    seed: int = 1


@dataclass
class Progress:
    """How far the topics have come: end offsets summed over partitions."""

    requests: int = 0
    outputs: int = 0
    outcomes: int = 0
    examples: int = 0


@dataclass
class Stopwatch:
    """When outputs began and when they last grew, for the demo's requests per second."""

    outputs: int = 0
    began: float = field(default_factory=time.monotonic)
    grew: float = field(default_factory=time.monotonic)

    def see(self, outputs: int) -> None:
        """Note the number of outputs at this moment."""
        now = time.monotonic()
        if outputs == 0:
            self.began = now
        if outputs != self.outputs:
            self.grew = now
        self.outputs = outputs

    @property
    def per_second(self) -> float:
        """Outputs per second between the last moment without any and their last growth."""
        return self.outputs / max(self.grew - self.began, 1e-9)


class Demo:
    """One run of the demo.

    Args:
        settings: As loaded; the demo points them at its own broker and folder.
        options: What was asked for.
        console: Where the live table goes.
    """

    def __init__(self, settings: Settings, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._settings = _demo_settings(settings, options)
        self._ports = [free_port() for _ in range(options.workers)]
        self._children: list[ChildProcess] = []
        self._stopwatch = Stopwatch()

    async def run(self) -> dict[str, Any]:
        """Run to the end and return the summary, after stopping everything.

        Raises:
            DemoError: If nothing moves any more before the end is reached.
            ChildError: If a process fails.
        """
        options = self._options
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        async with AsyncExitStack() as stack:
            port = int(self._settings.kafka.bootstrap.rpartition(":")[2])
            log = options.folder / "broker.log"
            stack.enter_context(EmbeddedBroker(log, port=port))
            await ensure_topics(self._settings.kafka, self._settings.topics)
            await self._open_monitor(stack)
            async with AsyncExitStack() as processes:
                publisher = await self._start(processes, "publisher", *self._publish_command())
                if options.backlog:
                    await self._until_backlog(publisher)
                await self._start_workers(processes)
                p99_ms, model = await self._watch(publisher)
            found = await account(self._settings)
            progress = await self._progress()
        return self._summary(found, progress, p99_ms, model)

    async def _start(
        self, stack: AsyncExitStack, name: str, *arguments: str, **sections: dict[str, Any]
    ) -> ChildProcess:
        settings = self._settings
        for section, values in sections.items():
            settings = settings.override({f"{section}.{k}": v for k, v in values.items()})
        log = self._options.folder / f"{name}.log"
        child = ChildProcess(name, arguments, log, settings.environment())
        self._children.append(child)
        return await stack.enter_async_context(child)

    async def _start_workers(self, stack: AsyncExitStack) -> None:
        for number, port in enumerate(self._ports, 1):
            await self._start(stack, f"worker-{number}", "worker", worker={"metrics_port": port})
        if not self._options.backlog:
            feedback = {"metrics_port": free_port()}
            await self._start(stack, "feedback", "worker", "--role", "feedback", worker=feedback)
        if self._options.rebuild:
            await self._start(stack, "trainer", "trainer", "--quick")

    def _publish_command(self) -> list[str]:
        options = self._options
        scale = str(self._settings.feedback.time_scale)
        if options.jd is not None:
            return ["publish", "jd", str(options.jd), "--time-scale", scale]
        command = ["publish", "simulated", "--requests", str(options.requests)]
        command += ["--seed", str(options.seed), "--time-scale", scale]
        if options.backlog:
            return [*command, "--rate", "0", "--no-outcomes"]
        return [*command, "--rate", str(options.requests_per_second)]

    async def _until_backlog(self, publisher: ChildProcess) -> None:
        self._console.print(f"publishing a backlog of {self._options.requests:,} requests")
        await publisher.wait()
        publisher.check()

    async def _watch(self, publisher: ChildProcess) -> tuple[float, str]:
        """Show the table until everything has come through; returns p99 (ms) and model."""
        last, moved = Progress(), time.monotonic()
        with Dashboard(self._console) as dashboard:
            while True:
                for child in self._children:
                    child.check()
                progress = await self._progress()
                self._stopwatch.see(progress.outputs)
                samples = await scrape(self._ports)
                dashboard.show(samples, progress.outcomes, progress.examples)
                if progress != last:
                    last, moved = progress, time.monotonic()
                if self._complete(publisher, progress, time.monotonic() - moved):
                    total = merge(samples.values())
                    return total.p99_ms(), total.model
                if time.monotonic() - moved > STALLED_S:
                    raise DemoError(
                        f"nothing has moved for {STALLED_S:g} s: {progress.outputs} of "
                        f"{progress.requests} requests came out; see {self._options.folder}/*.log"
                    )
                await asyncio.sleep(0.2)

    def _complete(self, publisher: ChildProcess, progress: Progress, quiet_s: float) -> bool:
        """Whether all requests came out, all outcomes came in, and all windows have closed."""
        if publisher.returncode is None or progress.outputs < progress.requests:
            return False
        if self._options.backlog:
            return True
        settle_s = (
            self._settings.feedback.lateness_s
            + max(task.window_s for task in self._settings.tasks)
            / self._settings.feedback.time_scale
        )
        return quiet_s > settle_s

    async def _progress(self) -> Progress:
        topics = self._settings.topics
        ends = {
            topic: sum((await self._monitor.end_offsets(partitions)).values())
            for topic, partitions in self._partitions.items()
        }
        return Progress(
            requests=ends[topics.requests],
            outputs=ends[topics.passed] + ends[topics.blocked] + ends[topics.rejected],
            outcomes=ends[topics.outcomes],
            examples=ends[topics.examples],
        )

    async def _open_monitor(self, stack: AsyncExitStack) -> None:
        topics = self._settings.topics
        self._monitor = AIOKafkaConsumer(**client_options(self._settings.kafka))
        await self._monitor.start()
        stack.push_async_callback(self._monitor.stop)
        self._partitions = {
            topic: [
                TopicPartition(topic, partition)
                for partition in self._monitor.partitions_for_topic(topic) or ()
            ]
            for topic in (
                topics.requests,
                topics.passed,
                topics.blocked,
                topics.rejected,
                topics.outcomes,
                topics.examples,
            )
        }

    def _summary(
        self, found: Account, progress: Progress, p99_ms: float, model: str
    ) -> dict[str, Any]:
        rate = self._settings.policy.rate
        window = min(WINDOW_REQUESTS, max(1, (found.requests - WARM_UP_REQUESTS) // 2))
        achieved = found.achieved_rate(WARM_UP_REQUESTS)
        on_target = abs(achieved - rate) <= RATE_TOLERANCE
        summary = {
            "requests": found.requests,
            "passed": found.count(Fate.PASSED),
            "blocked": found.count(Fate.BLOCKED),
            "rejected": found.count(Fate.REJECTED),
            "target_rate": rate,
            "achieved_rate": round(achieved, 6),
            "worst_window_error": round(
                found.worst_window_error(rate, window, WARM_UP_REQUESTS), 6
            ),
            "window_requests": window,
            "warm_up_requests": WARM_UP_REQUESTS,
            "requests_per_second": round(self._stopwatch.per_second, 1),
            "p99_ms": round(p99_ms, 2),
            "model_version": model,
            "models": dict(found.models),
            "reasons": dict(found.reasons),
            "outcomes": progress.outcomes,
            "examples": progress.examples,
            "missing": found.missing,
            "doubled": found.doubled,
            "altered": found.altered,
            "unknown": found.unknown,
            "reordered": found.reordered,
            "exact": found.exact,
            "on_target": on_target,
            "ok": found.exact and on_target and found.requests > 0,
        }
        write_summary(self._options.folder / "summary.json", summary)
        return summary


def _demo_settings(settings: Settings, options: DemoOptions) -> Settings:
    """``settings`` pointed at the demo's own broker, folder and pace."""
    week_s = 7 * 86_400
    return settings.override(
        {
            "kafka.bootstrap": f"127.0.0.1:{free_port()}",
            # the embedded broker waits half the session timeout before a group's first join
            "kafka.session_timeout_s": 6.0,
            "model.artifact": "pretrained:jd" if options.jd else None,
            "model.registry": str(options.folder / "registry"),
            "trainer.store": str(options.folder / "examples"),
            "feedback.time_scale": week_s / WEEK_S,
            "feedback.lateness_s": 2.0,
        }
    )
