"""The intercept worker: a Faust app whose one agent filters bid requests, chunk by chunk.

While a chunk is decided, those before it are being written, with the guarantee that the settings
ask for: at least once (a crash may repeat records, but loses none) or exactly once.
"""

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Final

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
from stream.faust_app.vitals import CONDITIONS, look, starting
from stream.intercept.interceptor import (
    TRUNCATED_HEADER,
    Interceptor,
    LoadedModel,
    OutputRecord,
    restamped,
    source_offset,
)
from stream.intercept.model_watcher import ModelWatcher
from stream.kafka.client import client_options
from stream.kafka.group_watch import GroupMetrics, GroupWatch
from stream.kafka.rights import Role
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from stream.transport import (
    Chunk,
    ChunkSink,
    Incidents,
    Instead,
    Outputs,
    RecordsRefusedError,
    RecordTooLargeError,
    TransactionalSink,
    attach,
    bound,
    chunk_topic,
    consumer_lag,
    heartbeat_s,
    relay,
    report,
)

logger = logging.getLogger(__name__)

LAG_EVERY_S: Final = 0.5
STEP: Final = 1024  # requests; some 15 ms of work
TURNS: Final = 5  # of the event loop between two steps
MODEL: Final = "model"
_TIMESTAMP: Final = attrgetter("timestamp")


class InterceptWorker(Service):  # type: ignore[misc]
    """What the agent needs around it: sink, model watcher, metrics; started before the consumer.

    Args:
        settings: All settings.
        app: The Faust app whose lag is reported.
    """

    def __init__(self, settings: Settings, app: faust.App) -> None:
        super().__init__()
        self._settings = settings
        self._app = app
        self.metrics = WorkerMetrics()
        self._health = Health("worker", (*CONDITIONS, MODEL))
        groups = GroupMetrics(self.metrics.registry, settings.worker.expected)
        self._groups = GroupWatch(settings, groups, self._health)
        policy = Policy(settings.policy, settings.task_set, worker=uuid.uuid4().hex)
        self._watcher = ModelWatcher(
            settings, self._install, self.metrics, lambda: self._interceptor.recent
        )
        self._interceptor = Interceptor(
            policy,
            self.metrics,
            max_value_bytes=settings.worker.max_value_bytes,
            on_failure=self._watcher.failed,
        )
        self._incidents = Incidents(self.metrics.registry)
        self.sink = MeteredSink(_sink(settings, self._incidents), self.metrics)
        self._control = ControlWatcher(settings, policy, self.metrics)
        self._sharing = RateSharing(settings, policy, self.metrics)

    async def on_start(self) -> None:
        """Serve probes, connect, load model and policy: in that order, before any request."""
        worker = self._settings.worker
        starting(self._health)
        serve(self.metrics.registry, self._health, worker.metrics_host, worker.metrics_port)
        await self.sink.inner.start()
        attach(self._app, self.sink, worker.max_buffer_bytes, worker.offsets_missing)
        report(self._app, self._incidents)
        bound(
            self._app,
            self._settings.kafka.max_unpacked_bytes,
            partial(self.metrics.refusals.refuse_batch, consequence="dead-lettered"),
            keep=True,
        )
        for service in (self._groups, self._watcher, self._control, self._sharing):
            await self.add_runtime_dependency(service)
        _spare_the_collector()

    async def on_stop(self) -> None:
        """Disconnect."""
        await self.sink.inner.stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_partitions(self) -> None:
        while not self.should_stop:
            lag = consumer_lag(self._app)
            self.metrics.lag(lag)
            excused = not self._groups.answering or bool(self._incidents.waits)
            look(self._app, self._health, excused=excused)
            if self._interceptor.model is None:
                self._health.unmet(MODEL, "none serves: everything passes")
            else:
                self._health.met(MODEL)
            requests = self._settings.topics.requests
            self._sharing.own(frozenset(number for topic, number in lag if topic == requests))
            await self.sleep(LAG_EVERY_S)

    def _install(self, model: LoadedModel) -> None:
        self._interceptor.model = model

    async def intercept(self, chunks: Sequence[Chunk]) -> Sequence[Outputs]:
        """Decide the chunks of a fetch: what of each goes to which topic.

        Decisions do not depend on how the stream is cut. So what came of all partitions is decided
        together, for a few requests cost as much as a hundred, and much of it in steps, between
        which heartbeats, fetches and writes go on: one turn of the loop takes a write only from
        one of its stages to the next.
        """
        records = [record for chunk in chunks for record in chunk.records]
        ends = list(accumulate(len(chunk) for chunk in chunks))
        topics = self._settings.topics
        fates: tuple[str, str, str] = (topics.passed, topics.blocked, topics.rejected)
        made: list[dict[str, list[OutputRecord]]] = [{fate: [] for fate in fates} for _ in chunks]
        for start in range(0, len(records), STEP):
            now_ms = time.time_ns() // 1_000_000
            result = self._interceptor.intercept(records[start : start + STEP], now_ms)
            for fate, outputs, at in (
                (topics.passed, result.passed, result.passed_at),
                (topics.blocked, result.blocked, result.blocked_at),
                (topics.rejected, result.rejected, result.rejected_at),
            ):
                cuts = [0, *np.searchsorted(at + start, ends).tolist()]
                for outputs_of_chunk, (first, last) in zip(made, pairwise(cuts), strict=True):
                    outputs_of_chunk[fate] += outputs[first:last]
            for _ in range(TURNS):
                await asyncio.sleep(0)
        return made

    def reject(self, chunk: Chunk, outputs: Outputs, error: RecordsRefusedError) -> Outputs:
        """Send dead letters instead of the outputs that a topic does not take.

        Raises:
            RecordsRefusedError: If it is a dead letter that was cut, or has another time already.
        """
        rejected = self._settings.topics.rejected
        refused = [outputs[error.topic][index] for index in error.indices]
        by_offset = {record.offset: record for record in chunk.records}
        self._incidents.refused(
            error.topic, chunk.partition, [source_offset(output) for output in refused], error.why
        )
        gone = set(error.indices)
        fates = {topic: list(records) for topic, records in outputs.items()}
        fates[error.topic] = [r for i, r in enumerate(outputs[error.topic]) if i not in gone]
        now_ms = int(time.time() * 1000)
        for index, output in zip(error.indices, refused, strict=True):
            source = by_offset[source_offset(output)]
            if isinstance(error, RecordTooLargeError):
                if any(name == TRUNCATED_HEADER for name, _ in output.headers):
                    raise error
                letter = self._interceptor.oversized(source, error.sizes[index], error.limit)
            elif error.topic != rejected:
                letter = self._interceptor.refused(source, error.why, now_ms)
            elif output.timestamp == source.timestamp:
                letter = restamped(output, now_ms)
            else:
                raise error
            fates[rejected].append(letter)
        fates[rejected].sort(key=source_offset)
        return fates


class MeteredSink:
    """Counts and times what `inner` writes."""

    def __init__(self, inner: ChunkSink | TransactionalSink, metrics: WorkerMetrics) -> None:
        self.inner = inner
        self.commits = inner.commits
        self.claim = inner.claim
        self.drain = inner.drain
        self.release = inner.release
        self.filtered = inner.filtered
        self._metrics = metrics

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None) -> None:
        """Write a chunk's outputs; see `Sink.write`."""
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
        compression=compression,
        incidents=incidents,
    )


def _spare_the_collector() -> None:
    """Let the garbage collector look less often, and never at what was there at the start.

    A chunk makes some twenty containers per request and drops them all; with the default
    thresholds the collector walks them again and again in vain, for a fifth of the decoding time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


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
        """The worker first: it starts before the consumer and stops after it."""
        return [self._worker, *super().on_init_dependencies()]

    async def _intercept(self, stream: faust.StreamT[Chunk]) -> None:
        worker = self._worker
        await relay(stream, worker.intercept, worker.sink, worker.reject)


def run_worker(settings: Settings) -> None:
    """Run an intercept worker until SIGTERM or SIGINT, after a look at what it needs.

    Raises:
        UserError: If something that it needs is missing, then or later.
    """
    asyncio.run(preflight(settings, Role.INTERCEPT))
    run_app(InterceptApp(settings))
