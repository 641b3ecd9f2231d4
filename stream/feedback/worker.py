"""The feedback worker: a Faust app whose only agent turns passed requests into training examples.

It has no state and reads no outcomes: the trainer joins examples with outcomes when it reads them.
At least once: a crash may repeat examples, of which the trainer's store keeps one, but loses none.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import faust
from mode import Service, ServiceT

from models.artifact.registry import load_configured
from models.features import FeatureSpec
from models.process.health import Health
from models.process.probes import serve
from models.settings import Settings
from stream.doctor import preflight
from stream.faust_app.app import DisklessApp, run_app
from stream.faust_app.vitals import CONDITIONS, starting, update_health
from stream.feedback.example_maker import NO_EXAMPLE, ExampleMaker
from stream.feedback.metrics import FeedbackMetrics
from stream.kafka.client import client_options
from stream.kafka.group_watch import GroupMetrics, GroupWatch
from stream.kafka.rights import Role, feedback_group
from stream.transport import (
    Chunk,
    ChunkSink,
    Incidents,
    Outgoing,
    Outputs,
    RecordsRefusedError,
    attach,
    bound_batches,
    chunk_topic,
    consumer_lag,
    relay,
    report_incidents,
    turns,
)

LAG_EVERY_S: Final = 0.5
BATCH: Final = 1024  # requests; some 20 ms of work
#: Nothing is fetched while so much is in flight; its examples are half as large.
MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
Clock = Callable[[], float]


class FeedbackWorker(Service):  # type: ignore[misc]
    """The services around the agent: sink, metrics, probes; started before the consumer.

    Args:
        settings: All settings.
        spec: Feature spec of the examples.
        app: The Faust app of the agent.
        clock: Seconds since the epoch.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec, app: faust.App, clock: Clock) -> None:
        super().__init__()
        self._settings = settings
        self._app = app
        self._clock = clock
        self._examples = settings.topics.examples
        self.metrics = FeedbackMetrics()
        self._incidents = Incidents(self.metrics.registry)
        self.sink = ChunkSink(
            client_options(settings.kafka),
            [self._examples],
            compression=settings.worker.compression,
            incidents=self._incidents,
        )
        self._health = Health("feedback", CONDITIONS)
        groups = GroupMetrics(self.metrics.registry, settings.worker.expected)
        self._groups = GroupWatch(settings, groups, self._health)
        self._maker = ExampleMaker(
            spec,
            settings.feedback.keep_share,
            settings.worker.max_value_bytes,
            self.metrics.refusals,
            settings.policy.scenario_path,
        )

    async def on_start(self) -> None:
        """Serve metrics and probes, and connect."""
        worker = self._settings.worker
        starting(self._health)
        serve(self.metrics.registry, self._health, worker.metrics_host, worker.metrics_port)
        await self.sink.start()
        attach(self._app, self.sink, MAX_IN_FLIGHT_BYTES)
        report_incidents(self._app, self._incidents)
        refuse = self.metrics.refusals.refuse_batch
        bound_batches(self._app, self._settings.kafka.max_unpacked_bytes, refuse)
        await self.add_runtime_dependency(self._groups)

    async def on_stop(self) -> None:
        """Disconnect."""
        await self.sink.stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_partitions(self) -> None:
        while not self.should_stop:
            self.metrics.lag(consumer_lag(self._app))
            excused = not self._groups.answering or bool(self._incidents.blocked)
            update_health(self._app, self._health, excused=excused)
            await self.sleep(LAG_EVERY_S)

    async def make_examples(self, chunks: Sequence[Chunk]) -> Sequence[Outputs]:
        """Examples of the chunks of a fetch, for the partition numbers of their sources.

        The event loop runs heartbeats, fetches and writes between two batches.
        """
        outputs: list[Outputs] = []
        for chunk in chunks:
            examples: list[Outgoing] = []
            for start in range(0, len(chunk), BATCH):
                records = chunk.records[start : start + BATCH]
                made = self._maker.make(records, int(self._clock() * 1000))
                self.metrics.made(made)
                examples += made.examples
                await turns()
            outputs.append({self._examples: examples})
        return outputs

    def without_refused(
        self, chunk: Chunk, outputs: Outputs, error: RecordsRefusedError
    ) -> Outputs:
        """Leave out the examples that their topic does not accept; each is counted and logged."""
        rows: Sequence[Any] = outputs[error.topic]
        for index in error.indices:
            offset = rows[index].source
            self.metrics.refusals.refuse(
                chunk.topic, chunk.partition, offset, error.why, NO_EXAMPLE
            )
        gone = set(error.indices)
        return {error.topic: [row for at, row in enumerate(rows) if at not in gone]}


class FeedbackApp(DisklessApp):
    """The Faust app of a feedback worker.

    Args:
        settings: All settings.
        spec: Feature spec of the examples.
        clock: Seconds since the epoch.
    """

    def __init__(self, settings: Settings, spec: FeatureSpec, clock: Clock = time.time) -> None:
        super().__init__(settings, feedback_group(settings), Role.FEEDBACK)
        self._worker = FeedbackWorker(settings, spec, self, clock)
        self.agent(chunk_topic(self, settings.topics.passed), name="examples")(self._make_examples)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Put the worker first: it starts before the consumer and stops after it."""
        return [self._worker, *super().on_init_dependencies()]

    async def _make_examples(self, stream: faust.StreamT[Chunk]) -> None:
        worker = self._worker
        await relay(stream, worker.make_examples, worker.sink, worker.without_refused)


def run_feedback(settings: Settings) -> None:
    """Run a feedback worker until SIGTERM or SIGINT, after checking that what it needs is there.

    The features are those of the artifact in `model.artifact`: rebuilds keep its feature spec.

    Raises:
        UserError: If something that it needs is missing, at the start or later.
    """
    asyncio.run(preflight(settings, Role.FEEDBACK))
    spec = load_configured(settings.model).spec
    run_app(FeedbackApp(settings, spec))
