"""The trainer daemon: consumes examples, rebuilds artifacts, announces those that pass the gates.

It consumes `training-examples` from the offsets in its example store, stores the examples, and
rebuilds in a child process while consumption continues. Failures (no broker, a full disk, a failed
rebuild) are logged, counted and retried; none of them ends the daemon.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiokafka import TopicPartition

from models.artifact import load_artifact
from models.errors import UserError
from models.features import FeatureSpec
from models.process.health import Health
from models.process.probes import serve
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.kafka.connection import ConnectionFaultError, reach
from stream.messages import ModelAnnouncement, TrainingExample
from trainer.gates.report import GateLimits
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.metrics import TrainerMetrics
from trainer.pipeline.reader import ExampleReader
from trainer.pipeline.rebuilder import Rebuilder
from trainer.pipeline.validation import is_mature, read_example
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

#: Buffered examples are stored when one of these is reached: rows, feature ids (40 bytes each in
#: memory), seconds.
FLUSH_ROWS: Final = 10_000
FLUSH_IDS: Final = 2_000_000
FLUSH_S: Final = 10.0
#: Largest number of buffered feature ids while the disk is full; consumption pauses then.
MOST_IDS: Final = 4_000_000
#: Interval of the lag gauges, and the longest time without an answer of the brokers, in seconds.
STATE_S: Final = 5.0
UNANSWERED_S: Final = 60.0
#: Delay before a failed rebuild is retried, unless enough new examples arrive before.
RETRY_S: Final = 900.0
HEARTBEAT_S: Final = 120.0
#: Condition of readiness.
BROKER: Final = "broker"
#: Conditions of liveness, each with the longest time between two beats, in seconds.
EVENT_LOOP: Final = "event loop"
LOOP_S: Final = 60.0
CONSUMING: Final = "consuming"
STALL_S: Final = 600.0
DEFAULT_LIMITS: Final = GateLimits()
Clock = Callable[[], float]


class TrainerDaemon:
    """Consumes and stores examples, and rebuilds from them.

    Args:
        settings: All settings.
        clock: Seconds since the epoch.
        limits: Limits of the gates.

    Raises:
        SettingsError: If ``settings.training`` is not a valid training configuration.
        StoreError: If the example store was written for other tasks, or cannot be read.
    """

    def __init__(
        self, settings: Settings, clock: Clock = time.time, limits: GateLimits = DEFAULT_LIMITS
    ) -> None:
        self._settings = settings
        self._tasks = settings.task_set
        self._clock = clock
        config = TrainConfig.of(settings.training, quick=settings.trainer.quick)
        self.metrics = TrainerMetrics()
        self._store = ExampleStore(settings.trainer.store, self._tasks)
        self._incumbent = Incumbent(settings)
        self._rebuilder = Rebuilder(
            settings, config, self._store, self._incumbent, self.metrics, clock, limits
        )
        self._spec: FeatureSpec | None = None
        self._health = Health("trainer", [BROKER])
        topics = settings.topics
        self._reader = ExampleReader(
            settings.kafka, topics.examples, topics.models, self.metrics.refusals.refuse_batch
        )
        self._buffer: list[TrainingExample] = []
        self._offsets: dict[int, int] = {}
        self._ids = 0
        self._disk_is_full = False
        self._fresh = 0
        self._state_at = 0.0
        self._flushed_at = self._rebuilt_at = self._logged_at = clock()
        self._retry_at: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; consumed examples are stored before it returns."""
        self._start()
        beating = asyncio.create_task(self._beat())
        rebuilding: asyncio.Task[bool] | None = None
        try:
            self._spec = await in_daemon_thread(self._configured_spec)
            if not await self._reader.start(self._store.offsets, stop):
                return
            self._health.met(BROKER)
            while not stop.is_set():
                await self._consume()
                if rebuilding is not None and rebuilding.done():
                    self._rebuilt(succeeded=rebuilding.result())
                    rebuilding = None
                if rebuilding is None and self._due() and not self._disk_is_full and self._flush():
                    rebuilding = asyncio.create_task(self._rebuilder.rebuild())
                    self._rebuilt_at, self._fresh, self._retry_at = self._clock(), 0, None
                await self._heartbeat(rebuilding=rebuilding is not None)
            self._flush()
        finally:
            beating.cancel()
            if rebuilding is not None:
                rebuilding.cancel()
                await asyncio.gather(rebuilding, return_exceptions=True)
            await self._reader.stop()

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
        for _part in self._store.quarantined:
            self.metrics.error("part")
        self.metrics.state(self._store.rows, 0, {})
        logger.info(
            "%d examples in %s; rebuilds start after %d new mature examples, or after %.0f s with "
            "at least one; candidates are compared with the newest announced artifact, else %s",
            *(self._store.rows, self._store.path, trainer.rebuild_examples),
            *(trainer.rebuild_period_s, self._settings.model.artifact),
        )

    async def _beat(self) -> None:
        """Report that the event loop runs, also while :meth:`run` waits."""
        while True:
            self._health.beat(EVENT_LOOP, LOOP_S)
            await asyncio.sleep(1.0)

    def _configured_spec(self) -> FeatureSpec | None:
        artifact = self._settings.model.artifact
        try:
            return load_artifact(artifact).spec
        except UserError as error:
            logger.warning(
                "model.artifact: %s; examples are stored, but rebuilds fail until it names an "
                "artifact, or one is announced",
                error,
            )
            return None

    async def _consume(self) -> None:
        self._health.beat(CONSUMING, STALL_S)
        if self._ids < MOST_IDS:
            poll_ms = int(self._settings.trainer.poll_s * 1000)
            for tp, records in (await self._reader.poll(poll_ms)).items():
                if tp.topic == self._settings.topics.models:
                    self._read_announcements(records)
                else:
                    self._read_examples(tp, records)
        else:
            await asyncio.sleep(self._settings.trainer.poll_s)
        waited = self._clock() - self._flushed_at
        much = len(self._buffer) >= FLUSH_ROWS or self._ids >= FLUSH_IDS
        if waited >= FLUSH_S or (much and not self._disk_is_full):
            self._flush()

    def _read_examples(self, tp: TopicPartition, records: list[Any]) -> None:
        for record in records:
            fate = "refused"
            with self.metrics.refusals.guard(record, "not learned"):
                example = read_example(record.value, self._tasks, self._spec)
                fate = "mature" if is_mature(example, self._tasks) else "immature"
                self._buffer.append(example)
                self._ids += len(example.features)
                self._fresh += fate == "mature"
            self.metrics.consumed(fate)
        self._offsets[tp.partition] = records[-1].offset + 1

    def _read_announcements(self, records: list[Any]) -> None:
        for record in records:
            with self.metrics.refusals.guard(record, "not what a candidate is compared with"):
                self._incumbent.announce(ModelAnnouncement.from_bytes(record.value))

    def _flush(self) -> bool:
        """Store the buffered examples; False if that failed, and they stay in the buffer."""
        self._flushed_at = self._clock()
        if self._offsets:
            try:
                self._store.append(self._buffer, self._offsets)
            except OSError as error:
                self._disk_is_full = True
                self.metrics.error("store")
                logger.warning(
                    "%d examples cannot be stored: %s; they are kept in memory and retried in "
                    "%.0f s; free space on the disk of trainer.store",
                    *(len(self._buffer), error, FLUSH_S),
                )
                return False
        self._buffer = []
        self._offsets = {}
        self._ids = 0
        self._disk_is_full = False
        return True

    def _due(self) -> bool:
        trainer = self._settings.trainer
        now = self._clock()
        if self._retry_at is not None and now >= self._retry_at:
            return True
        late = now - self._rebuilt_at >= trainer.rebuild_period_s
        return self._fresh >= trainer.rebuild_examples or (late and self._fresh > 0)

    def _rebuilt(self, *, succeeded: bool) -> None:
        self._spec = self._rebuilder.spec or self._spec
        if not succeeded:
            self._retry_at = self._clock() + RETRY_S

    async def _heartbeat(self, *, rebuilding: bool) -> None:
        """Update metrics and health; every ``HEARTBEAT_S`` write a log line too."""
        now = self._clock()
        if now - self._state_at < STATE_S:
            return
        self._state_at = now
        lag = await self._reader.lag()
        self.metrics.state(self._store.rows, self._fresh, lag)
        unanswered_s = self._reader.unanswered_s(now)
        if unanswered_s > UNANSWERED_S:
            self._health.unmet(BROKER, f"no answer for {unanswered_s:.0f} s")
        else:
            self._health.met(BROKER)
            if not self._disk_is_full:
                self.metrics.progressed(now)
        if now - self._logged_at >= HEARTBEAT_S:
            self._logged_at = now
            await self._reader.add_partitions(self._store.offsets)
            logger.info(
                "%d examples stored, lag %d, %d new mature examples; %s",
                *(self._store.rows, sum(lag.values()), self._fresh, self._next(now, rebuilding)),
            )

    def _next(self, now: float, rebuilding: bool) -> str:
        """When the next rebuild starts, for the log."""
        trainer = self._settings.trainer
        if rebuilding:
            return "a rebuild is running"
        if self._retry_at is not None:
            return f"the failed rebuild is retried in {self._retry_at - now:.0f} s"
        left_s = max(0.0, self._rebuilt_at + trainer.rebuild_period_s - now)
        missing = trainer.rebuild_examples - self._fresh
        if not self._fresh:
            return f"the next rebuild starts after {missing} new mature examples"
        return f"the next rebuild starts after {missing} more, or in {left_s:.0f} s"


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
