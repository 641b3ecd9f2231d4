"""The intercept worker: a Faust app whose one agent filters bid requests, chunk by chunk.

A chunk is acknowledged when the broker has acknowledged all its outputs, so a crash at any moment
repeats records but loses none.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Iterable
from typing import Final

import faust
from mode import Service, ServiceT

from models.features.native import NATIVE
from models.kafka import client_options
from models.settings import Settings
from stream.app import DisklessApp, faust_options, run_app
from stream.interceptor import Intercepted, Interceptor, LoadedModel
from stream.metrics import WorkerMetrics
from stream.policy import Policy
from stream.serving import ModelWatcher
from stream.transport import Chunk, ChunkSink, chunk_topic, chunks, consumer_lag

logger = logging.getLogger(__name__)

LAG_EVERY_S: Final = 1.0


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
        self._interceptor = Interceptor(
            Policy(settings.policy, settings.task_set),
            self.metrics,
            max_value_bytes=settings.worker.max_value_bytes,
        )
        self._sink = ChunkSink(client_options(settings.kafka))
        self._watcher = ModelWatcher(settings, self._install, self.metrics)

    async def on_start(self) -> None:
        """Connect, load a model, serve metrics: in that order, before the first request."""
        await self._sink.start()
        await self.add_runtime_dependency(self._watcher)
        worker = self._settings.worker
        _spare_the_collector()
        port = self.metrics.serve(worker.metrics_host, worker.metrics_port)
        logger.info("features are extracted by %s", "compiled code" if NATIVE else "Python")
        logger.info("metrics on http://%s:%d/metrics", worker.metrics_host, port)

    async def on_stop(self) -> None:
        """Disconnect."""
        await self._sink.stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _report_lag(self) -> None:
        while not self.should_stop:
            self.metrics.lag(consumer_lag(self._app))
            await self.sleep(LAG_EVERY_S)

    def _install(self, model: LoadedModel) -> None:
        self._interceptor.model = model

    async def intercept(self, chunk: Chunk) -> None:
        """Decide a chunk and write its outputs; returns when the broker has them all."""
        start = time.perf_counter()
        result = self._interceptor.intercept(chunk.records)
        with self.metrics.stage("produce"):
            await self._produce(chunk.partition, result)
        self.metrics.chunk(len(chunk), time.perf_counter() - start)

    async def _produce(self, partition: int, result: Intercepted) -> None:
        topics = self._settings.topics
        await asyncio.gather(
            *(
                self._sink.send(topic, partition, records)
                for topic, records in (
                    (topics.passed, result.passed),
                    (topics.blocked, result.blocked),
                    (topics.rejected, result.rejected),
                )
                if records
            )
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
        super().__init__(settings.kafka.group, **faust_options(settings))
        self._worker = InterceptWorker(settings, self)
        self.agent(chunk_topic(self, settings.topics.requests), name="intercept")(self._intercept)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """The worker first: it starts before the consumer and stops after it."""
        return [self._worker, *super().on_init_dependencies()]

    async def _intercept(self, stream: faust.StreamT[Chunk]) -> None:
        async for chunk in chunks(stream):
            await self._worker.intercept(chunk)


def run_worker(settings: Settings) -> None:
    """Run an intercept worker until SIGTERM or SIGINT; exits non-zero if it fails."""
    run_app(InterceptApp(settings))
