"""Which artifact serves: reads announcements, checks and warms artifacts, swaps between chunks.

The newest announcement on the compacted topic ``models`` decides; before there is one, the
artifact of the settings does. A bad artifact is refused with its code, in log and metrics, and
the old one keeps serving. With none at all the worker fails open, and tries again until one
appears.
"""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from models.artifact import ArtifactError, ArtifactFault, load_artifact
from models.kafka import client_options
from models.settings import Settings
from models.tasks import TaskSet
from stream.interceptor import LoadedModel
from stream.metrics import ServingModel, WorkerMetrics
from stream.records import ModelAnnouncement, RecordError

logger = logging.getLogger(__name__)

#: How often a missing artifact is looked for again.
RETRY_S = 2.0


def load_model(
    url: str, tasks: TaskSet, settings: Settings, manifest_sha256: str | None = None
) -> LoadedModel:
    """Verify, load and warm an artifact.

    Args:
        url: Folder, fsspec URL, or ``pretrained:NAME``.
        tasks: What the worker is configured for; the artifact must predict just these.
        settings: For threads and batch size.
        manifest_sha256: Hash from the announcement, if there was one.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    artifact = load_artifact(url, expected_manifest_sha256=manifest_sha256)
    if artifact.tasks.names != tasks.names:
        raise ArtifactError(
            ArtifactFault.TASK_MISMATCH,
            f"{url}: predicts {', '.join(artifact.tasks.names)}, but the settings list "
            f"{', '.join(tasks.names)}; retrain it or change [[tasks]]",
        )
    return LoadedModel(
        artifact, threads=settings.worker.score_threads, batch=settings.worker.score_batch
    )


class ModelWatcher(Service):  # type: ignore[misc]
    """Keeps the interceptor supplied with the model that should serve.

    Args:
        settings: Brokers, topics, the artifact to begin with.
        install: Called on the event loop with each model that takes over.
        metrics: Where swaps and refusals are counted.
    """

    def __init__(
        self, settings: Settings, install: Callable[[LoadedModel], None], metrics: WorkerMetrics
    ) -> None:
        super().__init__()
        self._settings = settings
        self._install = install
        self._metrics = metrics
        self._configured = ModelAnnouncement("", settings.model.artifact, "", 0)
        self._serving: ModelAnnouncement | None = None
        self._last_refusal = ""

    async def on_start(self) -> None:
        """Put the newest announced artifact, or else the configured one, in service."""
        self._metrics.model(None)
        self._consumer = AIOKafkaConsumer(
            **client_options(self._settings.kafka), enable_auto_commit=False
        )
        await self._consumer.start()
        self._wanted = await self._read_announcements()
        if self._wanted is not None:
            await self._serve(self._wanted)
        if self._serving is None:
            await self._serve(self._configured)

    async def on_stop(self) -> None:
        """Leave the brokers."""
        await self._consumer.stop()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            self._wanted = await self._poll(int(RETRY_S * 1000)) or self._wanted
            if self._wanted is not None and self._serving != self._wanted:
                await self._serve(self._wanted)
            if self._serving is None:
                await self._serve(self._configured)

    async def _read_announcements(self) -> ModelAnnouncement | None:
        """The newest of the announcements that are already there."""
        topic = self._settings.topics.models
        partitions = [TopicPartition(topic, 0)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        end = (await self._consumer.end_offsets(partitions))[partitions[0]]
        newest: ModelAnnouncement | None = None
        while await self._consumer.position(partitions[0]) < end:
            newest = await self._poll(timeout_ms=500) or newest
        return newest

    async def _poll(self, timeout_ms: int) -> ModelAnnouncement | None:
        newest = None
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for record in records:
                try:
                    newest = ModelAnnouncement.from_bytes(record.value)
                except RecordError as error:
                    where = f"{record.topic}[{record.partition}]@{record.offset}"
                    logger.error("%s: announcement ignored: %s", where, error)  # noqa: TRY400
        return newest

    async def _serve(self, wanted: ModelAnnouncement) -> None:
        """Load ``wanted`` beside the serving model and swap, or refuse it and keep the old one."""
        settings = self._settings
        try:
            model = await asyncio.to_thread(
                load_model, wanted.url, settings.task_set, settings, wanted.manifest_sha256 or None
            )
        except ArtifactError as error:
            self._refuse(wanted, error)
            return
        self._serving = wanted
        self._last_refusal = ""
        self._install(model)
        self._metrics.model(ServingModel(model.version, model.created_s))
        logger.info("model %s serves, from %s", model.version, wanted.url)

    def _refuse(self, wanted: ModelAnnouncement, error: ArtifactError) -> None:
        if str(error) == self._last_refusal:
            return
        self._last_refusal = str(error)
        self._metrics.refused(error.code)
        keeps = "the old model keeps serving" if self._serving else "FAIL OPEN: everything passes"
        logger.error("artifact %s refused (%s): %s; %s", wanted.url, error.code, error, keeps)
