"""The trainer daemon: consumes examples, rebuilds artifacts, announces those that pass the gates.

It consumes `training-examples` and `outcomes` from the offsets in its store, stores them, and
rebuilds in a child process while consumption continues. Failures (no broker, a full disk, a failed
rebuild) are logged, counted and retried; none of them ends the daemon. Only a trainer that takes
over its store does.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from models.artifact.registry import load_configured
from models.errors import UserError
from models.features import FeatureSpec
from models.process.health import Health
from models.process.probes import serve
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.kafka.connection import ConnectionFaultError, reach
from stream.messages import ModelAnnouncement
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.reader import TopicReader
from trainer.service.intake import Intake
from trainer.service.live_quality import LiveQuality
from trainer.service.maturity import maturity
from trainer.service.metrics import TrainerMetrics
from trainer.service.rebuilder import Rebuilder
from trainer.service.schedule import Reason, Rules, Schedule
from trainer.service.upkeep import Upkeep
from trainer.store.example_store import ExampleStore
from trainer.store.lease import LEASE_S, Lease
from trainer.store.windows import AttributionWindows
from trainer.training.config import TrainConfig
from trainer.watch.metrics import WatchMetrics
from trainer.watch.swap_watch import SwapWatch

logger = logging.getLogger(__name__)

#: Interval of the lag gauges, and the longest time without an answer of the brokers, in seconds.
STATE_S: Final = 5.0
UNANSWERED_S: Final = 60.0
HEARTBEAT_S: Final = 120.0
#: Interval in which a trainer that waits looks at the lease, in seconds.
ACQUIRE_S: Final = 5.0
#: Conditions of readiness.
BROKER: Final = "broker"
LEASE: Final = "lease"
#: Conditions of liveness, each with the longest time between two beats, in seconds.
EVENT_LOOP: Final = "event loop"
LOOP_S: Final = 60.0
CONSUMING: Final = "consuming"
STALL_S: Final = 600.0
Clock = Callable[[], float]


class TrainerDaemon:
    """Consumes and stores examples, and rebuilds from them.

    Args:
        settings: All settings.
        clock: Seconds since the epoch.

    Raises:
        SettingsError: If ``settings.training`` is not a valid training configuration.
        StoreError: If the store cannot be read.
    """

    def __init__(self, settings: Settings, clock: Clock = time.time) -> None:
        self._settings = settings
        self._tasks = settings.task_set
        self._clock = clock
        config = TrainConfig.of(settings.training, quick=settings.trainer.quick)
        self.metrics = TrainerMetrics()
        topics = settings.topics
        self._store = ExampleStore(settings.trainer.store, topics.examples, topics.outcomes)
        self._lease = Lease(settings.trainer.store, "weir trainer")
        self._intake = Intake(settings, self._store, self._lease, self.metrics, clock)
        self._upkeep = Upkeep(settings, self._lease, self.metrics, clock)
        self._incumbent = Incumbent(settings)
        self._rebuilder = Rebuilder(
            settings, config, self._store, self._incumbent, self.metrics, clock
        )
        self._health = Health("trainer", [LEASE, BROKER])
        self._reader = TopicReader(
            settings.kafka,
            (topics.examples, topics.outcomes),
            topics.models,
            self.metrics.refusals.refuse_batch,
        )
        feedback = settings.feedback
        self._windows = AttributionWindows(self._tasks, feedback.time_scale, feedback.lateness_s)
        watch_metrics = WatchMetrics(self.metrics.registry)
        self._watch = SwapWatch(settings, watch_metrics, self._labels_since, clock)
        last = self._rebuilder.last
        began_s = clock() if last is None else last.job.created.timestamp()
        self._schedule = Schedule(Rules.of(settings.trainer), began_s)
        self._learned_ms = None if last is None else last.job.watermark_ms
        if last is not None and last.failed:
            self._schedule.end(began_s, failed=True)
        self._quality = LiveQuality(
            settings,
            self._incumbent,
            self.metrics,
            clock,
            lambda: self._intake.watermark.ms,
            self._schedule.alarm,
        )
        self._state_at = 0.0
        self._logged_at = clock()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; consumed records are stored before it returns.

        Raises:
            LostLeaseError: If another trainer took over the store.
            AnotherWriterError: If another process has written to it.
        """
        self._start()
        keeping: list[asyncio.Task[None]] = [asyncio.create_task(self._beat())]
        rebuilding: asyncio.Task[bool] | None = None
        try:
            if not await self._hold_lease(stop):
                return
            services = self._renew(), self._upkeep.run(), self._watch.run()
            keeping += [asyncio.create_task(each) for each in services]
            self._intake.spec = await in_daemon_thread(self._configured_spec)
            if not await self._reader.start(self._store.offset, stop):
                return
            self._health.met(BROKER)
            keeping.append(asyncio.create_task(self._quality.run()))
            while not stop.is_set():
                _raise_failures(keeping)
                await self._consume()
                if rebuilding is not None and rebuilding.done():
                    self._rebuilt(succeeded=rebuilding.result())
                    rebuilding = None
                if rebuilding is None:
                    rebuilding = await self._begin_if_due()
                await self._heartbeat(rebuilding=rebuilding is not None)
            await self._intake.store()
        finally:
            for task in [*keeping, *([rebuilding] if rebuilding else [])]:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._reader.stop()
            with suppress(OSError):
                await in_daemon_thread(self._lease.release)

    async def _hold_lease(self, stop: asyncio.Event) -> bool:
        """Wait until this trainer is the writer of the store; False if `stop` was set before."""
        reported = None
        while not stop.is_set():
            try:
                holder = await in_daemon_thread(self._lease.acquire)
            except OSError as error:
                self.metrics.error("lease")
                reason = f"the lease of the store cannot be written: {error}"
            else:
                if holder is None:
                    await in_daemon_thread(self._store.reopen)
                    self._intake.start()
                    self._health.met(LEASE)
                    return True
                reason = f"the store is written by {holder}"
            if reason != reported:
                logger.error(
                    "%s: %s; this trainer waits, and takes over once that one has stopped",
                    *(self._store.url, reason),
                )
            reported = reason
            self._health.unmet(LEASE, reason)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ACQUIRE_S)
        return False

    async def _renew(self) -> None:
        """Renew the lease until it is lost."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await in_daemon_thread(self._lease.renew)
            except OSError as error:
                self.metrics.error("lease")
                logger.warning("the lease cannot be renewed, retrying: %s", error)

    def _start(self) -> None:
        trainer = self._settings.trainer
        self._health.beat(EVENT_LOOP, LOOP_S)
        serve(
            self.metrics.registry,
            self._health,
            trainer.metrics_host,
            trainer.metrics_port,
            section="trainer",
        )
        self._observe()
        self.metrics.state(self._store, self._schedule, self._store.watermark, {})
        logger.info(
            "%d examples in %s; %s; candidates are compared with the newest announced artifact, "
            "else %s",
            *(self._store.rows, self._store.url, self._schedule.outlook(self._clock())),
            self._settings.model.artifact,
        )

    async def _beat(self) -> None:
        """Report that the event loop runs, also while :meth:`run` waits."""
        while True:
            self._health.beat(EVENT_LOOP, LOOP_S)
            await asyncio.sleep(1.0)

    def _configured_spec(self) -> FeatureSpec | None:
        try:
            return load_configured(self._settings.model).spec
        except UserError as error:
            logger.warning(
                "model.artifact: %s; examples are stored, but rebuilds fail until it names an "
                "artifact, or one is announced",
                error,
            )
            return None

    async def _consume(self) -> None:
        self._health.beat(CONSUMING, STALL_S)
        topics, poll_s = self._settings.topics, self._settings.trainer.poll_s
        if self._intake.is_stuck:
            await asyncio.sleep(poll_s)
        else:
            for tp, records in (await self._reader.poll(int(poll_s * 1000))).items():
                if tp.topic == topics.models:
                    self._read_announcements(records)
                else:
                    self._intake.consume(tp, records)
            now = self._clock()
            self._intake.tick(
                outcomes_read=await self._reader.has_read(topics.outcomes, now),
                examples_read=await self._reader.has_read(topics.examples, now),
            )
        if self._intake.is_due:
            await self._intake.store()

    def _read_announcements(self, records: list[Any]) -> None:
        for record in records:
            with self.metrics.refusals.guard(record, "not what a candidate is compared with"):
                self._incumbent.announce(ModelAnnouncement.from_bytes(record.value))

    def _observe(self) -> None:
        """Tell the schedule which labels have become final since the last rebuild began."""
        now_ms, then_ms = self._intake.watermark.ms, self._learned_ms
        if now_ms is None:
            return
        labels = {}
        for at, task in enumerate(self._tasks.names):
            first_ms = 0 if then_ms is None else self._windows.final_before(at, then_ms)
            end_ms = self._windows.final_before(at, now_ms)
            labels[task] = self._store.rows_between(first_ms, end_ms)
        self._schedule.observe(min(labels.values()), labels)

    async def _begin_if_due(self) -> asyncio.Task[bool] | None:
        """Start a rebuild if one is due, what serves is known, and all that is consumed stored."""
        self._observe()
        trigger = (
            self._rebuilder.resume()
            or self._schedule.due(self._clock())
            or self._rebuilder.retest(self._labels_since)
        )
        if trigger is None or not await self._reader.announcements_read():
            return None
        if self._intake.is_stuck or not await self._intake.store():
            return None
        watermark_ms = self._intake.watermark.ms
        if trigger.reason is not Reason.RETEST:
            self._schedule.begin(self._clock())
        if trigger.reason not in {Reason.RESUMED, Reason.RETEST}:
            self._learned_ms = watermark_ms
        return asyncio.create_task(self._rebuilder.rebuild(trigger, watermark_ms))

    def _rebuilt(self, *, succeeded: bool) -> None:
        self._intake.spec = self._rebuilder.spec or self._intake.spec
        self._schedule.end(self._clock(), failed=not succeeded)

    def _labels_since(self, ts: int) -> dict[str, int]:
        """About the number of final labels of requests from a time on, ms, by task."""
        now_ms = self._intake.watermark.ms or 0
        return {
            name: self._store.rows_between(ts, self._windows.final_before(task, now_ms))
            for task, name in enumerate(self._tasks.names)
        }

    async def _heartbeat(self, *, rebuilding: bool) -> None:
        """Update metrics and health; every ``HEARTBEAT_S`` write a log line too."""
        now = self._clock()
        if now - self._state_at < STATE_S:
            return
        self._state_at = now
        lag = await self._reader.lag()
        watermark_ms = self._intake.watermark.ms
        self.metrics.state(self._store, self._schedule, watermark_ms, lag)
        if watermark_ms is not None:
            self.metrics.quality.matured(maturity(self._store, self._windows, watermark_ms))
        unanswered_s = self._reader.unanswered_s(now)
        if unanswered_s > UNANSWERED_S:
            self._health.unmet(BROKER, f"no answer for {unanswered_s:.0f} s")
        else:
            self._health.met(BROKER)
            if not self._intake.is_stuck:
                self.metrics.progressed(now)
        if now - self._logged_at >= HEARTBEAT_S:
            self._logged_at = now
            await self._reader.add_partitions(self._store.offset)
            logger.info(
                "%d examples stored, lag %d, %d new mature examples; %s",
                *(self._store.rows, sum(lag.values()), self._schedule.examples),
                "a rebuild is running" if rebuilding else self._schedule.outlook(now),
            )


def _raise_failures(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Raise the exception of a task that has ended."""
    for task in tasks:
        if task.done():
            task.result()


def run_trainer(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    asyncio.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> None:
    with suppress(ConnectionFaultError):  # the reader reports it, or waits for the brokers
        await reach(settings.kafka)  # before signals are handled, so that Ctrl-C interrupts it
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await TrainerDaemon(settings).run(stop)
    logger.info("stopped")
