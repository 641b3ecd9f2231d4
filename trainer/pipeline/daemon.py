"""The trainer daemon: examples in, artifacts out, announced when they pass their gates.

It consumes `training-examples` from where its store says, stores what comes, and rebuilds in a
child process while consumption goes on. What does not work (no broker, a full disk, a rebuild that
fails) is logged, counted and tried again; it never ends the daemon.
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
from trainer.evaluation.gates import GateLimits
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.intake import is_mature, take_example
from trainer.pipeline.metrics import TrainerMetrics
from trainer.pipeline.reader import ExampleReader
from trainer.pipeline.rebuilder import Rebuilder
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

#: What is stored at once: rows, ids of features (40 bytes each in memory), seconds.
FLUSH_ROWS: Final = 10_000
FLUSH_IDS: Final = 2_000_000
FLUSH_S: Final = 10.0
#: Ids of features in memory while the disk takes none; no more are consumed then.
MOST_IDS: Final = 4_000_000
#: Between two looks at the lag; and how long brokers may be silent while all is well.
LOOK_S: Final = 5.0
SILENT_S: Final = 60.0
#: Between a rebuild that failed and the next try, unless enough new examples come before.
RETRY_S: Final = 900.0
HEARTBEAT_S: Final = 120.0
#: What must be met before the trainer is ready.
BROKER: Final = "broker"
#: What must go on, and the longest without a sign of it, in seconds.
EVENT_LOOP: Final = "event loop"
LOOP_S: Final = 60.0
CONSUMING: Final = "consuming"
STALL_S: Final = 600.0
DEFAULT_LIMITS: Final = GateLimits()
Clock = Callable[[], float]


class TrainerDaemon:
    """Stores examples and rebuilds.

    Args:
        settings: All settings.
        clock: Seconds since the epoch.
        limits: Limits of the gates.

    Raises:
        SettingsError: If ``settings.training`` is no training configuration.
        StoreError: If the example store is another one's.
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
        self._looked_at = 0.0
        self._flushed_at = self._rebuilt_at = self._logged_at = clock()
        self._retry_at: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what was consumed is stored then."""
        self._start()
        turning = asyncio.create_task(self._turn())
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
            turning.cancel()
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
        for _part in self._store.aside:
            self.metrics.error("part")
        self.metrics.state(self._store.rows, 0, {})
        logger.info(
            "%d examples in %s; rebuilds with %d new mature examples, or any of them after %.0f s; "
            "compared with what is announced, else %s",
            *(self._store.rows, self._store.path, trainer.rebuild_examples),
            *(trainer.rebuild_period_s, self._settings.model.artifact),
        )

    async def _turn(self) -> None:
        """Beat while the event loop turns, whatever is waited for."""
        while True:
            self._health.beat(EVENT_LOOP, LOOP_S)
            await asyncio.sleep(1.0)

    def _configured_spec(self) -> FeatureSpec | None:
        artifact = self._settings.model.artifact
        try:
            return load_artifact(artifact).spec
        except UserError as error:
            logger.warning(
                "model.artifact: %s; examples are stored, but nothing can be rebuilt until it "
                "names an artifact, or one is announced",
                error,
            )
            return None

    async def _consume(self) -> None:
        self._health.beat(CONSUMING, STALL_S)
        if self._ids < MOST_IDS:
            poll_ms = int(self._settings.trainer.poll_s * 1000)
            for tp, records in (await self._reader.poll(poll_ms)).items():
                if tp.topic == self._settings.topics.models:
                    self._follow(records)
                else:
                    self._take(tp, records)
        else:
            await asyncio.sleep(self._settings.trainer.poll_s)
        waited = self._clock() - self._flushed_at
        much = len(self._buffer) >= FLUSH_ROWS or self._ids >= FLUSH_IDS
        if waited >= FLUSH_S or (much and not self._disk_is_full):
            self._flush()

    def _take(self, tp: TopicPartition, records: list[Any]) -> None:
        for record in records:
            fate = "refused"
            with self.metrics.refusals.guard(record, "not learned"):
                example = take_example(record.value, self._tasks, self._spec)
                fate = "mature" if is_mature(example, self._tasks) else "immature"
                self._buffer.append(example)
                self._ids += len(example.features)
                self._fresh += fate == "mature"
            self.metrics.consumed(fate)
        self._offsets[tp.partition] = records[-1].offset + 1

    def _follow(self, records: list[Any]) -> None:
        for record in records:
            with self.metrics.refusals.guard(record, "not what a candidate is compared with"):
                self._incumbent.announce(ModelAnnouncement.from_bytes(record.value))

    def _flush(self) -> bool:
        """Store what was consumed; False if the disk does not take it, so that it is kept."""
        self._flushed_at = self._clock()
        if self._offsets:
            try:
                self._store.append(self._buffer, self._offsets)
            except OSError as error:
                self._disk_is_full = True
                self.metrics.error("store")
                logger.warning(
                    "%d examples cannot be stored: %s; they are kept in memory, and tried again "
                    "in %.0f s; free space on the disk of trainer.store",
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
        """Show how far everything is; every two minutes in the log, too."""
        now = self._clock()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        lag = await self._reader.lag()
        self.metrics.state(self._store.rows, self._fresh, lag)
        silent_s = self._reader.silent_s(now)
        if silent_s > SILENT_S:
            self._health.unmet(BROKER, f"no answer for {silent_s:.0f} s")
        else:
            self._health.met(BROKER)
            if not self._disk_is_full:
                self.metrics.progressed(now)
        if now - self._logged_at >= HEARTBEAT_S:
            self._logged_at = now
            await self._reader.grow(self._store.offsets)
            logger.info(
                "%d examples stored, %d not consumed yet, %d new mature ones; %s",
                *(self._store.rows, sum(lag.values()), self._fresh, self._next(now, rebuilding)),
            )

    def _next(self, now: float, rebuilding: bool) -> str:
        """When it rebuilds next, or why not."""
        trainer = self._settings.trainer
        if rebuilding:
            return "a rebuild goes on"
        if self._retry_at is not None:
            return f"the rebuild that failed is tried again in {self._retry_at - now:.0f} s"
        left_s = max(0.0, self._rebuilt_at + trainer.rebuild_period_s - now)
        missing = trainer.rebuild_examples - self._fresh
        if not self._fresh:
            return f"no rebuild before new mature examples come ({missing} make one due)"
        return f"the next rebuild comes with {missing} more, or in {left_s:.0f} s"


def run_trainer(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    asyncio.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> None:
    with suppress(ConnectionFaultError):  # told, or waited for, by the reader
        await reach(settings.kafka)  # before signals are handled: Ctrl-C ends a vain attempt
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await TrainerDaemon(settings).run(stop)
    logger.info("stopped")
