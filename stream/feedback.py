"""The feedback worker: a Faust app that joins passed requests with their outcomes.

`collect` and `outcomes` re-key both onto the joins topic; `join` keeps what waits in a Faust table
and writes training examples. The order of writes makes redelivery after a crash harmless: examples,
then changed entries, then the progress that covers them, then deletions, then the acknowledgement.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import faust
from mode import Service, ServiceT

from models.artifact import load_artifact
from models.features import FeatureSpec
from models.kafka import client_options
from models.settings import Settings
from stream.app import DisklessApp, run_app
from stream.doctor import first_step
from stream.feedback_metrics import FeedbackMetrics
from stream.feedback_state import JoinTable
from stream.join import FeedbackJoin, JoinCounts
from stream.pending import REQUEST_KIND
from stream.records import Outcome, RecordError
from stream.rekey import Rekeyed, Rekeyer
from stream.rights import Role, feedback_group
from stream.transport import Chunk, ChunkSink, Outgoing, chunk_topic, chunks, consumer_lag

logger = logging.getLogger(__name__)

TICK_S: Final = 0.5
Clock = Callable[[], float]


class FeedbackWorker(Service):  # type: ignore[misc]
    """What the agents do; started before the consumer and stopped after it.

    Args:
        settings: All settings.
        spec: Feature spec of the examples.
        app: The Faust app whose lag is watched.
        table: State of the joins.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        spec: FeatureSpec,
        app: faust.App,
        table: JoinTable,
        clock: Clock,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._app = app
        self._table = table
        self._clock = clock
        self._sink = ChunkSink(client_options(settings.kafka))
        self._joins: dict[int, FeedbackJoin] = {}
        self._lock = asyncio.Lock()
        self.metrics = FeedbackMetrics()
        self._rekeyer = Rekeyer(
            spec,
            settings.kafka.partitions,
            settings.worker.max_value_bytes,
            self.metrics.malformed,
        )

    async def on_start(self) -> None:
        """Connect and serve metrics."""
        await self._sink.start()
        worker = self._settings.worker
        port = self.metrics.serve(worker.metrics_host, worker.metrics_port)
        logger.info("metrics on http://%s:%d/metrics", worker.metrics_host, port)

    async def on_stop(self) -> None:
        """Disconnect, after what is under way."""
        async with self._lock:
            await self._sink.stop()

    async def recovered(self) -> None:
        """Begin anew with the recovered state: partitions have come or gone."""
        async with self._lock:
            self._joins.clear()
            self.metrics.forget()
            for partition in self._table.partitions_held:
                self.metrics.pending(partition, self._join_of(partition).pending)

    async def collect(self, chunk: Chunk) -> None:
        """Re-key a chunk of passed requests."""
        await self._send_joins(self._rekeyer.requests(chunk, self._now_ms()))

    async def outcomes(self, chunk: Chunk) -> None:
        """Re-key a chunk of outcomes."""
        await self._send_joins(self._rekeyer.outcomes(chunk, self._now_ms()))

    async def join(self, chunk: Chunk) -> None:
        """Join a chunk and write what is due; returns when the broker has all of it."""
        async with self._lock:
            join = self._join_of(chunk.partition)
            now_ms = self._now_ms()
            before = replace(join.counts)
            for record in chunk.records:
                try:
                    _take(join, record.key, record.value, now_ms)
                except RecordError as error:
                    where = f"{chunk.topic}[{chunk.partition}]@{record.offset}"
                    logger.warning("%s: not joined: %s", where, error)
                    self.metrics.malformed(chunk.topic)
            await self._flush(chunk.partition, join, before)

    @Service.task  # type: ignore[untyped-decorator]
    async def _tick(self) -> None:
        """Let stream time follow the clock where requests stopped and nothing waits to be read."""
        seen: dict[int, int | None] = {}
        last = self._clock()
        while not self.should_stop:
            await self.sleep(TICK_S)
            lag = consumer_lag(self._app)
            self.metrics.lag(lag)
            read_all = bool(lag) and all(behind == 0 for behind in lag.values())
            now = self._clock()
            elapsed_ms, last = int((now - last) * 1000), now
            async with self._lock:
                for partition, join in self._joins.items():
                    still = partition in seen and seen[partition] == join.watermark
                    if still and read_all and not self.should_stop:
                        before = replace(join.counts)
                        join.idle(elapsed_ms)
                        await self._flush(partition, join, before)
                seen = {partition: join.watermark for partition, join in self._joins.items()}

    async def _flush(self, partition: int, join: FeedbackJoin, before: JoinCounts) -> None:
        topics = self._settings.topics
        now_ms = self._now_ms()
        examples = [
            Outgoing(example.request_id.encode(), example.to_bytes(), now_ms)
            for example in join.emit()
        ]
        if examples:
            await self._sink.send(topics.examples, partition, examples)
        state = self._table.partition(partition)
        if state.changed:
            progress = join.progress()
            records = [Outgoing(key, value, now_ms) for key, value in state.take_changes(progress)]
            changelog = self._table.changelog_topic_name
            await self._sink.send(changelog, partition, records)
        self.metrics.counts(before, join.counts)
        self.metrics.pending(partition, join.pending)

    async def _send_joins(self, rekeyed: Rekeyed) -> None:
        joins = self._settings.topics.joins
        await asyncio.gather(
            *(self._sink.send(joins, partition, records) for partition, records in rekeyed.items())
        )

    def _join_of(self, partition: int) -> FeedbackJoin:
        if partition not in self._joins:
            feedback = self._settings.feedback
            self._joins[partition] = FeedbackJoin(
                self._settings.task_set,
                feedback.time_scale,
                feedback.lateness_s,
                self._table.partition(partition),
            )
        return self._joins[partition]

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class FeedbackApp(DisklessApp):
    """The Faust app of a feedback worker.

    Args:
        settings: All settings.
        spec: Feature spec of the examples.
        clock: Seconds since the epoch.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec, clock: Clock = time.time) -> None:
        super().__init__(settings, feedback_group(settings), Role.FEEDBACK)
        table = JoinTable(
            self,
            name="joins",
            key_type=bytes,
            value_type=bytes,
            partitions=settings.kafka.partitions,
            beacon=self.beacon,
        )
        self.tables.add(table)
        self.worker = FeedbackWorker(settings, spec, self, table, clock)
        table.on_recover(self.worker.recovered)
        topics = settings.topics
        for topic, name, work in (
            (topics.passed, "collect", self.worker.collect),
            (topics.outcomes, "outcomes", self.worker.outcomes),
            (topics.joins, "join", self.worker.join),
        ):
            self.agent(chunk_topic(self, topic), name=name)(_each(work))

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """The worker first: it starts before the consumer and stops after it."""
        return [self.worker, *super().on_init_dependencies()]


def run_feedback(settings: Settings) -> None:
    """Run a feedback worker until SIGTERM or SIGINT, after a look at what it needs.

    The features are those of the artifact in `model.artifact`: a rebuild keeps its feature spec.

    Raises:
        UserError: If something that it needs is missing, then or later.
    """
    asyncio.run(first_step(settings, Role.FEEDBACK))
    run_app(FeedbackApp(settings, load_artifact(settings.model.artifact).spec))


def _each(work: Callable[[Chunk], Awaitable[None]]) -> Callable[[faust.StreamT[Chunk]], Any]:
    async def agent(stream: faust.StreamT[Chunk]) -> None:
        async for chunk in chunks(stream):
            await work(chunk)

    return agent


def _take(join: FeedbackJoin, key: bytes | None, value: bytes | None, now_ms: int) -> None:
    if key is None or value is None:
        raise RecordError("a key and a value are expected")
    if value[:1] == REQUEST_KIND:
        join.request(key.decode(), value, now_ms)
    else:
        join.outcome(Outcome.from_bytes(value))
