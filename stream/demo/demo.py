"""The demo: broker, topics, traffic, workers and feedback, and a verification at the end.

Every part runs as the same process that `weir` starts in production; the demo starts them, watches
their metrics, and verifies from outside (:mod:`stream.verify.verifier`) that every request came out
exactly once and that the achieved rate is the target.
"""

import asyncio
import importlib.util
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from models.errors import UserError
from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.demo.dashboard import Dashboard
from stream.demo.outcome_count import OutcomeCount
from stream.kafka.topics import ensure_topics
from stream.metrics.scrape import FeedbackSample, WorkerSample, merge, scrape, scrape_feedback
from stream.replay.replay import write_summary
from stream.verify.account import Account
from stream.verify.rate import Observed, achieved_rate, worst_window_error
from stream.verify.verifier import account

#: The achieved rate may differ from the target by this much after warm-up.
RATE_TOLERANCE: Final = 0.005
#: Requests before the rate is evaluated, and consecutive requests in a window.
WARM_UP_REQUESTS: Final = 1000
WINDOW_REQUESTS: Final = 10_000
#: The demo fails after this time without progress.
STALLED_S: Final = 60.0
#: Interval between updates of the table, and the time without changes that ends the demo.
POLL_S: Final = 0.2
QUIET_S: Final = 2.0
#: Traffic of a later day, whose outcomes have drifted since training, so that a rebuild improves
#: the model; and how long it continues after the rebuilt model was swapped in.
DRIFTED_TRAFFIC: Final = ["--drift", "0.15", "--start", "2000000"]
REBUILD_EXAMPLES: Final = 12_000
#: The held-out rows of so few examples show little: what is not shown to be worse may serve.
DEMO_GATES: Final = {"better": -0.1, "teacher_uncertainty": 0.0, "slowdown": 9.0, "patience": 0}
AFTER_SWAP_S: Final = 5.0
#: A week's attribution window lasts this long in the demo.
WEEK_S: Final = 8.0


class DemoError(UserError, RuntimeError):
    """The demo could not run to its end; names what stalled and where the logs are."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of `weir demo`.

    Attributes:
        folder: Folder of logs, registry, examples and summary.
        workers: Number of intercept workers in one consumer group.
        requests: Number of simulated requests to publish.
        requests_per_second: Their pace (0: as fast as possible).
        backlog: Publish everything before the first worker starts.
        jd: Folder of real JD requests to publish instead of simulated ones.
        rebuild: Run the trainer too, on traffic that has drifted since the shipped model was
            trained, until a rebuilt model has served.
        seed: Seed of the simulated traffic.
    """

    folder: Path
    workers: int = 2
    requests: int = 48_000
    requests_per_second: float = 1200.0
    backlog: bool = False
    jd: Path | None = None
    rebuild: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Progress:
    """Progress of all processes, from their own metrics, and the outcomes that have come."""

    workers: WorkerSample
    feedback: FeedbackSample
    outcomes: int


@dataclass
class Stopwatch:
    """Measures throughput: when outputs began and when they last grew."""

    outputs: float = 0
    began: float = field(default_factory=time.monotonic)
    grew: float = field(default_factory=time.monotonic)

    def observe(self, outputs: float) -> None:
        """Record the number of outputs at this moment."""
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
        settings: Loaded settings; the demo replaces broker and folders by its own.
        options: Options of the command.
        console: The console of the live table.
    """

    def __init__(self, settings: Settings, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._settings = _demo_settings(settings, options)
        self._worker_ports = [free_port() for _ in range(options.workers)]
        self._feedback_port = free_port()
        self._children: list[ChildProcess] = []
        self._first_models: set[str] | None = None
        self._stopwatch = Stopwatch()

    async def run(self) -> dict[str, Any]:
        """Run to the end, stop everything, and return the summary.

        Raises:
            DemoError: If there is no more progress before the end is reached.
            ChildError: If a process fails.
        """
        options = self._options
        if options.rebuild and importlib.util.find_spec("torch") is None:
            raise DemoError("--rebuild trains a model, which needs: pip install 'weir[train]'")
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        port = int(self._settings.kafka.bootstrap.rpartition(":")[2])
        with EmbeddedBroker(options.folder / "broker.log", port=port):
            await ensure_topics(self._settings.kafka, self._settings.topics)
            async with (
                OutcomeCount(self._settings) as self._outcomes,
                AsyncExitStack() as processes,
            ):
                if options.backlog:
                    self._console.print(f"publishing a backlog of {options.requests:,} requests")
                    await (await self._start_publisher(processes)).wait()
                await self._start_workers(processes)
                if not options.backlog:
                    await self._start_publisher(processes)
                with Dashboard(self._console) as dashboard:
                    end = await self._watch(dashboard)
            self._console.print("everything has stopped; accounting for every request")
            observed = Observed()
            found = await account(self._settings, observed)
        return self._summary(found, observed, end)

    async def _start(
        self, stack: AsyncExitStack, name: str, *arguments: str, metrics_port: int | None = None
    ) -> ChildProcess:
        settings = self._settings.override({"worker.metrics_port": metrics_port})
        log = self._options.folder / f"{name}.log"
        child = ChildProcess(name, arguments, log, settings.environment())
        self._children.append(child)
        return await stack.enter_async_context(child)

    async def _start_workers(self, stack: AsyncExitStack) -> None:
        for number, port in enumerate(self._worker_ports, 1):
            await self._start(stack, f"worker-{number}", "worker", metrics_port=port)
        if not self._options.backlog:
            role = ("worker", "--role", "feedback")
            await self._start(stack, "feedback", *role, metrics_port=self._feedback_port)
        if self._options.rebuild:
            await self._start(stack, "trainer", "trainer", "--quick")
        await self._until(lambda progress: progress.workers.model != "", "the workers have a model")

    async def _start_publisher(self, stack: AsyncExitStack) -> ChildProcess:
        options = self._options
        scale = str(self._settings.feedback.time_scale)
        command = ["publish", "simulated", "--requests", str(options.requests)]
        command += ["--seed", str(options.seed)]
        if options.jd is not None:
            command = ["publish", "jd", str(options.jd), "--time-scale", scale]
        elif options.backlog:
            command += ["--rate", "0", "--no-outcomes"]
        else:
            command += ["--rate", str(options.requests_per_second), "--time-scale", scale]
            command += DRIFTED_TRAFFIC if options.rebuild else []
        self._publisher = await self._start(stack, "publisher", *command)
        return self._publisher

    async def _progress(self) -> Progress:
        """Scrape the metrics of all processes, after checking that none has failed."""
        for child in self._children:
            child.check()
        self._samples = await scrape(self._worker_ports)
        feedback = await scrape_feedback(self._feedback_port)
        outcomes = await self._outcomes.seen()
        progress = Progress(merge(self._samples.values()), feedback or FeedbackSample(), outcomes)
        self._stopwatch.observe(progress.workers.requests)
        return progress

    async def _until(self, reached: Callable[[Progress], bool], what: str) -> None:
        deadline = time.monotonic() + STALLED_S
        while not reached(await self._progress()):
            if time.monotonic() > deadline:
                raise DemoError(f"not within {STALLED_S:g} s: {what}; see {self._options.folder}")
            await asyncio.sleep(POLL_S)

    async def _watch(self, dashboard: Dashboard) -> Progress:
        """Update the table until everything has been processed."""
        last, moved = Progress(WorkerSample(), FeedbackSample(), 0), time.monotonic()
        while True:
            progress = await self._progress()
            dashboard.show(self._samples, progress.feedback.examples, progress.outcomes)
            if self._options.rebuild:
                await self._stop_after_swap()
            if progress != last:
                last, moved = progress, time.monotonic()
            quiet_s = time.monotonic() - moved
            if self._complete(progress) and quiet_s > QUIET_S:
                return progress
            if quiet_s > STALLED_S:
                raise DemoError(
                    f"no progress for {STALLED_S:g} s, with {progress.workers.lag:,.0f} requests "
                    f"and {progress.feedback.lag:,.0f} examples left; "
                    f"see the logs in {self._options.folder}"
                )
            await asyncio.sleep(POLL_S)

    async def _stop_after_swap(self) -> None:
        """Stop the traffic once a rebuilt model has served on all workers for some seconds."""
        serving = {sample.model for sample in self._samples.values()}
        if self._first_models is None:
            self._first_models = serving
        if self._publisher.returncode is not None or serving & self._first_models:
            return
        await asyncio.sleep(AFTER_SWAP_S)
        self._children.remove(self._publisher)
        await self._publisher.stop()

    def _complete(self, progress: Progress) -> bool:
        """Whether all requests are decided, all outcomes written, and all examples made."""
        return (
            self._publisher.returncode is not None
            and progress.workers.requests > 0
            and progress.workers.lag == 0
            and progress.feedback.lag == 0
        )

    def _summary(self, found: Account, observed: Observed, end: Progress) -> dict[str, Any]:
        rate = self._settings.policy.rate
        window = min(WINDOW_REQUESTS, max(1, (found.requests - WARM_UP_REQUESTS) // 2))
        fate_N = observed.in_order(found.fates)
        achieved = achieved_rate(fate_N, WARM_UP_REQUESTS)
        worst = worst_window_error(fate_N, rate, window, WARM_UP_REQUESTS)
        swapped = len(observed.models) > 1
        on_target = abs(achieved - rate) <= RATE_TOLERANCE
        summary = {
            **found.summary(),
            "target_rate": rate,
            "achieved_rate": round(achieved, 6),
            "worst_window_error": round(worst, 6),
            "window_requests": window,
            "warm_up_requests": WARM_UP_REQUESTS,
            "requests_per_second": round(self._stopwatch.per_second, 1),
            "p99_ms": round(end.workers.p99_ms(), 2),
            "model_version": end.workers.model,
            "models": dict(observed.models),
            "reasons": dict(observed.reasons),
            "outcomes": end.outcomes,
            "examples": int(end.feedback.examples),
            "on_target": on_target,
            "ok": found.exact
            and on_target
            and found.requests > 0
            and (swapped or not self._options.rebuild),
        }
        write_summary(self._options.folder / "summary.json", summary)
        return summary


def _demo_settings(settings: Settings, options: DemoOptions) -> Settings:
    """The settings with the demo's own broker, folders and time scale."""
    week_s = 7 * 86_400
    return settings.override(
        {
            "kafka.bootstrap": f"127.0.0.1:{free_port()}",
            # the embedded broker waits half the session timeout before a group's first join
            "kafka.session_timeout_s": 6.0,
            "model.artifact": "pretrained:jd" if options.jd else None,
            "model.registry": str(options.folder / "registry"),
            "trainer.store": str(options.folder / "examples"),
            "trainer.rebuild_examples": REBUILD_EXAMPLES,
            **{f"trainer.gates.{limit}": value for limit, value in DEMO_GATES.items()},
            "feedback.time_scale": week_s / WEEK_S,
            "feedback.lateness_s": 2.0,
        }
    )
