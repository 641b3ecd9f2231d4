"""The intercept worker: a Faust app whose only agent filters bid requests, chunk by chunk.

While a chunk is decided, those before it are being written, with the guarantee of the settings: at
least once (a crash may repeat records but loses none) or exactly once.
"""

import asyncio
import logging
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any, Final

import faust
import numpy as np
from mode import Service, ServiceT

from models.process.health import Health
from models.process.probes import serve
from models.settings import Settings
from stream.control.rate_sharing import RateSharing
from stream.control.watcher import ControlWatcher
from stream.doctor import preflight
from stream.faust_app.app import DisklessApp, run_app
from stream.faust_app.vitals import CONDITIONS, starting, update_health
from stream.intercept import garbage_collection
from stream.intercept.challengers import Challenger
from stream.intercept.dead_letters import size_of, with_timestamp
from stream.intercept.interceptor import Interceptor
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.model_watcher import ModelWatcher
from stream.intercept.shadow import Shadow
from stream.journal.metrics import JournalMetrics
from stream.journal.policy import policy_of
from stream.journal.recorder import Recorder
from stream.journal.writer import JournalWriter
from stream.kafka.client import client_options
from stream.kafka.group_watch import GroupMetrics, GroupWatch
from stream.kafka.rights import Role, transactional_ids
from stream.messages import ModelRole
from stream.messages.dead_letter import MAX_TRUNCATED_BYTES
from stream.metrics.worker import WorkerMetrics
from stream.trace.worker import ProcessTrace
from stream.transport import (
    Chunk,
    ChunkSink,
    Incidents,
    Instead,
    Outgoing,
    Outputs,
    RecordsRefusedError,
    RecordTooLargeError,
    TransactionalSink,
    attach,
    bound_batches,
    chunk_topic,
    consumer_lag,
    heartbeat_s,
    relay,
    report_incidents,
    trace_chunks,
    turns,
)

logger = logging.getLogger(__name__)

LAG_EVERY_S: Final = 0.5
BATCH: Final = 1024  # requests; some 15 ms of work
MODEL: Final = "model"
#: Threads (a scrape of the metrics) give the interpreter back after this time, not after Python's 5
#: ms: the event loop waits for it after every call that lets it go, several for each chunk.
SWITCH_S: Final = 0.001
_TIMESTAMP: Final = attrgetter("timestamp")
_SOURCE: Final = attrgetter("source")
_Made = dict[str, list[Outgoing]]


class InterceptWorker(Service):  # type: ignore[misc]
    """The services around the agent: sink, model watcher, metrics; started before the consumer.

    Args:
        settings: All settings.
        app: The Faust app of the agent.
    """

    def __init__(self, settings: Settings, app: faust.App) -> None:
        super().__init__()
        self._settings = settings
        self._app = app
        self.metrics = WorkerMetrics()
        self._health = Health("worker", (*CONDITIONS, MODEL))
        groups = GroupMetrics(self.metrics.registry, settings.worker.expected)
        self._groups = GroupWatch(settings, groups, self._health)
        name = uuid.uuid4().hex
        self._journal: JournalWriter | None = None
        recorder = None
        if settings.worker.journal:
            recorder = Recorder()
            recorder.start(name, time.time_ns() // 1_000_000, settings)
            written = JournalMetrics(self.metrics.registry)
            self._journal = JournalWriter(settings, name, recorder, written)
        policy = policy_of(settings, name, recorder)
        self._watcher = ModelWatcher(
            settings, self._install, self._challenge, self.metrics, lambda: self._interceptor.recent
        )
        self._shadow = Shadow(
            policy,
            self.metrics,
            self._watcher.failed,
            most=settings.model.shadow_share,
            max_value_bytes=settings.worker.max_value_bytes,
        )
        self._interceptor = Interceptor(
            policy,
            self.metrics,
            max_value_bytes=settings.worker.max_value_bytes,
            on_failure=self._watcher.failed,
            journal=recorder,
        )
        self._incidents = Incidents(self.metrics.registry)
        self.sink = MeteredSink(_sink(settings, self._incidents), self.metrics)
        self._control = ControlWatcher(settings, policy, self.metrics)
        self._sharing = RateSharing(settings, policy, self.metrics, self._interceptor.version_of)
        self._trace: ProcessTrace | None = None
        if settings.worker.trace:
            worker, group = settings.worker, settings.kafka.group
            self._trace = ProcessTrace(worker.trace, worker.guarantee, group)

    async def on_start(self) -> None:
        """Serve probes, connect, load model and policy, in that order, before any request."""
        worker = self._settings.worker
        starting(self._health)
        serve(self.metrics.registry, self._health, worker.metrics_host, worker.metrics_port)
        if self._trace is not None:
            await self.add_runtime_dependency(self._trace)
        await self.sink.inner.start()
        attach(self._app, self.sink, worker.max_buffer_bytes, worker.offsets_missing)
        report_incidents(self._app, self._incidents)
        if self._trace is not None:
            trace_chunks(self._app, self._trace.tracer)
            self.metrics.on_stage = self._trace.tracer.stage
        bound_batches(
            self._app,
            self._settings.kafka.max_unpacked_bytes,
            partial(self.metrics.refusals.refuse_batch, consequence="dead-lettered"),
            keep=True,
        )
        first = () if self._journal is None else (self._journal,)  # it stops last
        for service in (*first, self._groups, self._watcher, self._control, self._sharing):
            await self.add_runtime_dependency(service)
        self._sharing.follow_assignment(self._app)
        garbage_collection.tune()
        sys.setswitchinterval(SWITCH_S)

    async def on_stop(self) -> None:
        """Disconnect."""
        self._shadow.stop()
        await self.sink.inner.stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_partitions(self) -> None:
        while not self.should_stop:
            lag = consumer_lag(self._app)
            self.metrics.lag(lag)
            excused = not self._groups.answering or bool(self._incidents.blocked)
            update_health(self._app, self._health, excused=excused)
            if self._interceptor.model is None:
                self._health.unmet(MODEL, "none serves: everything passes")
            else:
                self._health.met(MODEL)
            garbage_collection.collect_if_quiet()
            await self.sleep(LAG_EVERY_S)

    def _install(self, model: LoadedModel) -> None:
        self._interceptor.model = model

    def _challenge(self, role: ModelRole, challenger: Challenger | None) -> None:
        if role is ModelRole.CANARY:
            self._interceptor.canary = challenger
        else:
            self._shadow.challenger = challenger
            self._interceptor.shadow = self._shadow if challenger else None

    async def intercept(self, chunks: Sequence[Chunk]) -> Sequence[Outputs]:
        """Decide the chunks of a fetch; returns the outputs of each chunk by topic.

        Decisions do not depend on how the stream is cut. So the records of all partitions are
        decided together, since a few requests cost as much as a hundred, in batches between which
        the event loop runs heartbeats, fetches and writes.
        """
        topics = self._settings.topics
        names: tuple[str, str, str] = (topics.passed, topics.blocked, topics.rejected)
        made: list[_Made] = [{name: [] for name in names} for _ in chunks]
        canary = self._interceptor.canary
        if canary is None:
            await self._decide(chunks, made, by_canary=False)
            return made
        for by_canary in (False, True):
            at = [n for n, one in enumerate(chunks) if canary.decides(one.partition) is by_canary]
            mine = [chunks[n] for n in at]
            if by_canary:
                await turns()
            await self._decide(mine, [made[n] for n in at], by_canary=by_canary)
        return made

    async def _decide(
        self, chunks: Sequence[Chunk], made: Sequence[_Made], *, by_canary: bool
    ) -> None:
        """Decide chunks, all of them by the canary or all by the serving model.

        Args:
            chunks: The chunks.
            made: Receives the outputs of each chunk by topic.
            by_canary: Whether the canary decides.
        """
        topics = self._settings.topics
        records = [record for chunk in chunks for record in chunk.records]
        ends = list(accumulate(len(chunk) for chunk in chunks))
        for start in range(0, len(records), BATCH):
            if start:
                await turns()
            now_ms = time.time_ns() // 1_000_000
            batch = records[start : start + BATCH]
            result = self._interceptor.intercept(batch, now_ms, by_canary=by_canary)
            for topic, outputs, at in (
                (topics.passed, result.passed, result.passed_at),
                (topics.blocked, result.blocked, result.blocked_at),
                (topics.rejected, result.rejected, result.rejected_at),
            ):
                cuts = [0, *np.searchsorted(at + start, ends).tolist()]
                for outputs_of_chunk, (first, last) in zip(made, pairwise(cuts), strict=True):
                    outputs_of_chunk[topic] += outputs[first:last]

    def replace(self, chunk: Chunk, outputs: Outputs, error: RecordsRefusedError) -> Outputs:
        """Replace outputs that a topic refuses by dead letters.

        Raises:
            RecordsRefusedError: If an output cannot be replaced: it is as small as a cut dead
                letter, or it is a dead letter that has the present timestamp already.
        """
        rejected = self._settings.topics.rejected
        refused: list[Any] = [outputs[error.topic][index] for index in error.indices]
        offsets = [output.source for output in refused]
        self._incidents.refused(error.topic, chunk.partition, offsets, error.why)
        sources = {record.offset: record for record in chunk.records}
        gone = set(error.indices)
        kept = {topic: list(records) for topic, records in outputs.items()}
        kept[error.topic] = [r for i, r in enumerate(outputs[error.topic]) if i not in gone]
        now_ms = int(time.time() * 1000)
        for index, output in zip(error.indices, refused, strict=True):
            source = sources[output.source]
            if isinstance(error, RecordTooLargeError):
                if size_of(output) <= MAX_TRUNCATED_BYTES:
                    raise error
                letter = self._interceptor.oversized(source, error.sizes[index], error.limit)
            elif error.topic != rejected:
                letter = self._interceptor.refused(source, error.why, now_ms)
            elif output.timestamp == source.timestamp:
                letter = with_timestamp(output, now_ms, source.offset)
            else:
                raise error
            kept[rejected].append(letter)
        kept[rejected].sort(key=_SOURCE)
        return kept


class MeteredSink:
    """Counts and times the writes of another sink."""

    def __init__(self, inner: ChunkSink | TransactionalSink, metrics: WorkerMetrics) -> None:
        self.inner = inner
        self.commits = inner.commits
        self.claim = inner.claim
        self.drain = inner.drain
        self.release = inner.release
        self.filtered = inner.filtered
        self._metrics = metrics

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None) -> None:
        """Write the outputs of a chunk; see `Sink.write`."""
        with self._metrics.writing():
            await self.inner.write(chunk, outputs, instead)
        records = chunk.records
        self._metrics.latency(np.fromiter(map(_TIMESTAMP, records), np.int64, len(records)))
        self._metrics.chunk(len(chunk), time.monotonic() - chunk.fetched_s)


def _sink(settings: Settings, incidents: Incidents) -> ChunkSink | TransactionalSink:
    client, kafka, topics = client_options(settings.kafka), settings.kafka, settings.topics
    outputs = (topics.passed, topics.blocked, topics.rejected)
    compression = settings.worker.compression
    if settings.worker.guarantee == "at-least-once":
        return ChunkSink(client, outputs, compression=compression, incidents=incidents)
    return TransactionalSink(
        client,
        kafka.group,
        outputs,
        heartbeat_s=heartbeat_s(kafka.session_timeout_s),
        transactional_ids=transactional_ids(settings),
        compression=compression,
        incidents=incidents,
    )


class InterceptApp(DisklessApp):
    """The Faust app of an intercept worker.

    Args:
        settings: All settings.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.kafka.group, Role.INTERCEPT)
        self._worker = InterceptWorker(settings, self)
        self.agent(chunk_topic(self, settings.topics.requests), name="intercept")(self._intercept)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """The worker's services first: they start before the consumer and stop after it."""
        return [self._worker, *super().on_init_dependencies()]

    async def _intercept(self, stream: faust.StreamT[Chunk]) -> None:
        worker = self._worker
        await relay(stream, worker.intercept, worker.sink, worker.replace)


def run_worker(settings: Settings) -> None:
    """Check the prerequisites, then run an intercept worker until SIGTERM or SIGINT.

    Raises:
        UserError: If a prerequisite is missing, then or later.
    """
    asyncio.run(preflight(settings, Role.INTERCEPT))
    run_app(InterceptApp(settings))
