"""Which artifact serves: reads announcements, checks and warms artifacts, swaps between chunks.

The newest announcement on the compacted topic ``models`` decides; before there is one, the
artifact of the settings does. A bad artifact is refused with its code, in log and metrics, and
the old one keeps serving. With none at all the worker fails open, and tries again until one
appears.
"""

import asyncio
import logging
from collections.abc import Callable

from mode import Service

from models.artifact import ArtifactError, ArtifactFault, load_artifact
from models.settings import Settings
from models.tasks import TaskSet
from stream.interceptor import LoadedModel
from stream.metrics import ServingModel, WorkerMetrics
from stream.reading import TopicReader
from stream.records import ModelAnnouncement, RecordError

logger = logging.getLogger(__name__)


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
        artifact,
        threads=settings.worker.score_threads,
        batch=settings.worker.score_batch,
        scenario_path=settings.policy.scenario_path,
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
        self._wanted: ModelAnnouncement | None = None
        self._serving: ModelAnnouncement | None = None
        self._last_refusal = ""

    async def on_start(self) -> None:
        """Put the newest announced artifact, or else the configured one, in service."""
        self._metrics.model(None)
        topic, refuse = self._settings.topics.models, self._metrics.refusals.refuse_batch
        self._announcements = TopicReader(self._settings.kafka, topic, refuse)
        await self.add_async_context(self._announcements)
        (partition,) = self._announcements.partitions
        while not await self._announcements.at_end(partition):
            await self._poll()
        if self._wanted is not None:
            await self._serve(self._wanted)
        if self._serving is None:
            await self._serve(self._configured)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self._poll()
            if self._wanted is not None and self._serving != self._wanted:
                await self._serve(self._wanted)
            if self._serving is None:
                await self._serve(self._configured)

    async def _poll(self) -> None:
        """Take in announcements; returns after half a second without any."""
        reader = self._announcements
        for records in (await reader.fetch(reader.partitions)).values():
            for record in records:
                try:
                    self._wanted = ModelAnnouncement.from_bytes(record.value)
                except RecordError as error:
                    where = f"{record.topic}[{record.partition}]@{record.offset}"
                    logger.error("%s: announcement ignored: %s", where, error)  # noqa: TRY400

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
