"""The feedback worker: a Faust app that joins passed requests with their outcomes.

The agents `collect` and `outcomes` repartition both by request id onto the joins topic; `join`
keeps pending requests in a Faust table and writes training examples. The order of writes makes
redelivery after a crash harmless: examples, then changed entries, then the progress that covers
them, then deletions, then the acknowledgement.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import faust
from mode import Service, ServiceT

from models.artifact import load_artifact
from models.features import FeatureSpec
from models.process.health import Health
from models.process.probes import serve
from models.settings import Settings
from stream.doctor import preflight
from stream.faust_app.app import DisklessApp, run_app
from stream.faust_app.vitals import CONDITIONS, starting, update_health
from stream.feedback.join import FeedbackJoin
from stream.feedback.join_counts import JoinCounts
from stream.feedback.memory import MemoryReport
from stream.feedback.metrics import FeedbackMetrics
from stream.feedback.partitions import joins_partitions
from stream.feedback.pending import REQUEST_KIND
from stream.feedback.rekey import Rekeyed, Rekeyer
from stream.feedback.table import JoinTable
from stream.kafka.client import client_options
from stream.kafka.group_watch import GroupMetrics, GroupWatch
from stream.kafka.rights import Role, feedback_group
from stream.messages import Outcome, RecordError
from stream.transport import (
    Chunk,
    ChunkSink,
    Incidents,
    Outgoing,
    RecordsRefusedError,
    attach,
    bound_batches,
    chunk_topic,
    chunks,
    consumer_lag,
    report_incidents,
)

logger = logging.getLogger(__name__)

TICK_S: Final = 0.5
#: Maximum fetched and not joined yet, in addition to `feedback.max_memory_bytes`.
MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
TABLE: Final = "joins"
Clock = Callable[[], float]


class FeedbackWorker(Service):  # type: ignore[misc]
    """The work of the agents; started before the consumer and stopped after it.

    Args:
        settings: All settings.
        spec: Feature spec of the examples.
        app: The Faust app of the agents.
        table: State of the joins.
        metrics: Metrics and refusals of this process.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        spec: FeatureSpec,
        app: faust.App,
        table: JoinTable,
        metrics: FeedbackMetrics,
        clock: Clock,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._app = app
        self._table = table
        self._clock = clock
        topics = settings.topics
        self.metrics = metrics
        self._incidents = Incidents(metrics.registry)
        self._sink = ChunkSink(
            client_options(settings.kafka),
            [topics.joins, topics.examples],
            compression=settings.worker.compression,
            incidents=self._incidents,
        )
        self._joins: dict[int, FeedbackJoin] = {}
        self._lock = asyncio.Lock()
        self._memory = MemoryReport(settings.feedback, settings.task_set, spec)
        self._health = Health("feedback", CONDITIONS)
        groups = GroupMetrics(self.metrics.registry, settings.worker.expected)
        self._groups = GroupWatch(settings, groups, self._health)
        self._rekeyer = Rekeyer(
            spec,
            settings.kafka.partitions,
            settings.worker.max_value_bytes,
            metrics.refusals,
        )

    async def on_start(self) -> None:
        """Serve metrics and probes, and connect."""
        attach(self._app, None, MAX_IN_FLIGHT_BYTES)
        self._memory.log_capacity()
        self.metrics.capacity(self._memory.capacity)
        worker = self._settings.worker
        starting(self._health)
        serve(self.metrics.registry, self._health, worker.metrics_host, worker.metrics_port)
        await self._sink.start()
        report_incidents(self._app, self._incidents)
        refuse = self.metrics.refusals.refuse_batch
        bound_batches(self._app, self._settings.kafka.max_unpacked_bytes, refuse)
        await self.add_runtime_dependency(self._groups)

    async def on_stop(self) -> None:
        """Disconnect once writes in progress are done."""
        async with self._lock:
            await self._sink.stop()

    async def recovered(self) -> None:
        """Create the joins again from the recovered state, after a rebalance.

        Raises:
            TopicError: If the joins topic has more partitions than its state.
        """
        await joins_partitions(self._settings)
        async with self._lock:
            self._joins.clear()
            self.metrics.forget()
            for partition in self._table.partitions_held:
                join = self._join_of(partition)
                self.metrics.state(partition, join)
                self._memory.recovered(partition, join)

    async def collect(self, chunk: Chunk) -> None:
        """Repartition a chunk of passed requests."""
        await self._send_joins(self._rekeyer.requests(chunk, self._now_ms()))

    async def outcomes(self, chunk: Chunk) -> None:
        """Repartition a chunk of outcomes."""
        await self._send_joins(self._rekeyer.outcomes(chunk, self._now_ms()))

    async def join(self, chunk: Chunk) -> None:
        """Join a chunk and write the examples that are due; returns once all is acknowledged."""
        async with self._lock:
            join = self._join_of(chunk.partition)
            now_ms = self._now_ms()
            before = replace(join.counts)
            for record in chunk.records:
                with self.metrics.refusals.guard(record, "not joined"):
                    _add(join, record.key, record.value, now_ms)
            await self._flush(chunk.partition, join, before)

    @Service.task  # type: ignore[untyped-decorator]
    async def _tick(self) -> None:
        """Advance stream time with the clock where no requests arrive and there is no lag."""
        seen: dict[int, int | None] = {}
        last = self._clock()
        while not self.should_stop:
            await self.sleep(TICK_S)
            lag = consumer_lag(self._app)
            self.metrics.lag(lag)
            excused = not self._groups.answering or bool(self._incidents.blocked)
            update_health(self._app, self._health, excused=excused)
            read_all = bool(lag) and all(behind == 0 for behind in lag.values())
            now = self._clock()
            elapsed_ms, last = int((now - last) * 1000), now
            async with self._lock:
                for partition, join in self._joins.items():
                    still = partition in seen and seen[partition] == join.watermark
                    if still and read_all and not self.should_stop:
                        before = replace(join.counts)
                        join.advance(elapsed_ms)
                        await self._flush(partition, join, before)
                seen = {partition: join.watermark for partition, join in self._joins.items()}

    async def _flush(self, partition: int, join: FeedbackJoin, before: JoinCounts) -> None:
        topics = self._settings.topics
        now_ms = self._now_ms()
        examples = [
            Outgoing(example.request_id.encode(), example.to_bytes(), now_ms)
            for example in join.emit()
        ]
        await self._send(topics.examples, partition, examples)
        state = self._table.partition(partition)
        if state.changed:
            progress = join.progress()
            records = [Outgoing(key, value, now_ms) for key, value in state.take_changes(progress)]
            changelog = self._table.changelog_topic_name
            await self._send(changelog, partition, records)
        self.metrics.counts(before, join.counts)
        self.metrics.state(partition, join)
        self._memory.check(partition, join)

    async def _send_joins(self, rekeyed: Rekeyed) -> None:
        joins = self._settings.topics.joins
        await asyncio.gather(
            *(self._send(joins, partition, records) for partition, records in rekeyed.items())
        )

    async def _send(self, topic: str, partition: int, records: Sequence[Outgoing]) -> None:
        """Write records; those that the broker does not accept are refused."""
        left = list(records)
        while left:
            try:
                await self._sink.send(topic, partition, left)
            except RecordsRefusedError as error:
                for index in sorted(error.indices, reverse=True):
                    del left[index]
                    self.metrics.refusals.refuse(topic, partition, -1, error, "not written")
            else:
                return

    def _join_of(self, partition: int) -> FeedbackJoin:
        if partition not in self._joins:
            feedback = self._settings.feedback
            self._joins[partition] = FeedbackJoin(
                self._settings.task_set,
                feedback.time_scale,
                feedback.lateness_s,
                self._table.partition(partition),
                feedback.max_memory_bytes // max(1, len(self._owned())),
            )
        return self._joins[partition]

    def _owned(self) -> list[int]:
        """Assigned partitions of the join, which share the memory of this worker."""
        joins = self._settings.topics.joins
        return [tp.partition for tp in self._app.consumer.assignment() if tp.topic == joins]

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
        metrics = FeedbackMetrics()
        table = JoinTable(
            self,
            metrics.refusals,
            name=TABLE,
            partitions=settings.kafka.partitions,
            beacon=self.beacon,
        )
        self.tables.add(table)
        self.worker = FeedbackWorker(settings, spec, self, table, metrics, clock)
        table.on_recover(self.worker.recovered)
        topics = settings.topics
        for topic, name, work in (
            (topics.passed, "collect", self.worker.collect),
            (topics.outcomes, "outcomes", self.worker.outcomes),
            (topics.joins, "join", self.worker.join),
        ):
            self.agent(chunk_topic(self, topic), name=name)(_agent(work))

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Put the worker first: it starts before the consumer and stops after it."""
        return [self.worker, *super().on_init_dependencies()]


def run_feedback(settings: Settings) -> None:
    """Run a feedback worker until SIGTERM or SIGINT, after checking that what it needs is there.

    The features are those of the artifact in `model.artifact`: rebuilds keep its feature spec.

    Raises:
        UserError: If something that it needs is missing, at the start or later.
        TopicError: If the topics do not fit each other.
    """
    asyncio.run(preflight(settings, Role.FEEDBACK))
    spec = load_artifact(settings.model.artifact).spec
    partitions = asyncio.run(joins_partitions(settings))
    run_app(FeedbackApp(settings.override({"kafka.partitions": partitions}), spec))


def _agent(work: Callable[[Chunk], Awaitable[None]]) -> Callable[[faust.StreamT[Chunk]], Any]:
    async def agent(stream: faust.StreamT[Chunk]) -> None:
        async for chunk in chunks(stream):
            await work(chunk)

    return agent


def _add(join: FeedbackJoin, key: bytes | None, value: bytes | None, now_ms: int) -> None:
    if key is None or value is None:
        raise RecordError("a key and a value are expected")
    if value[:1] == REQUEST_KIND:
        join.add_request(key, value, now_ms)
    else:
        join.add_outcome(Outcome.from_bytes(value))
