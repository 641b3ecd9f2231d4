"""Which artifact serves: reads announcements, checks and tries artifacts, swaps between chunks.

The newest announcement on the compacted topic ``models`` that can be used decides; before there is
one, the artifact of the settings does. A bad one is refused with its code and its coordinates, and
what served keeps serving. If what serves fails at a chunk, the one before it takes over for that
very chunk. With none at all the worker fails open, and tries again until one appears.

Announcements are not trusted: nothing is read from outside the registry, nothing is loaded that
has not passed its trial in a child process (:mod:`models.artifact.trial`), and all of it goes on in
a thread that the end of the process does not wait for.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mode import Service

from models.artifact import (
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    fetch_artifact,
    open_artifact,
)
from models.artifact.registry import Registry
from models.artifact.scorer import ScoringError
from models.artifact.trial import hold_trial
from models.features.feature import Ids
from models.process.threads import in_daemon_thread
from models.settings import Settings
from models.tasks import TaskSet
from stream.intercept.candidates import Candidate, Candidates
from stream.intercept.interceptor import LoadedModel
from stream.kafka.reader import TopicReader
from stream.messages import ModelAnnouncement
from stream.metrics.worker import ServingModel, WorkerMetrics

logger = logging.getLogger(__name__)

Recent = tuple[str, Ids]
START_S: Final = 60.0
"""How long a worker waits at its start for an announced artifact before others are good enough."""
REST: Final = 3.0
"""After an attempt comes a rest this many times as long, so that a flood of announcements takes a
quarter of a core at most."""


def load_model(url: str, tasks: TaskSet, settings: Settings) -> LoadedModel:
    """Verify, try and load an artifact that the settings name, or a command line.

    Args:
        url: Folder, fsspec URL, or ``pretrained:NAME``.
        tasks: What it must predict.
        settings: For threads and batch size.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    return _load(fetch_artifact(url), tasks, settings)


def load_candidate(
    candidate: Candidate, settings: Settings, recent: Recent | None = None
) -> LoadedModel:
    """Verify, try and load what might serve; what is announced from below the registry only.

    Args:
        candidate: Which one.
        settings: Registry, tasks, threads and batch size.
        recent: Ids of recent requests with the hash of their spec, for the trial.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    tasks = settings.task_set
    if candidate.manifest_sha256 is None:
        return _load(fetch_artifact(candidate.url), tasks, settings, recent)
    files = Registry(settings.model.registry).fetch(candidate.url, candidate.manifest_sha256)
    if files.manifest.version != candidate.version:
        raise ArtifactError(
            ArtifactFault.BAD_MANIFEST,
            f"{files.url}: version {candidate.version!r} was announced, its manifest says "
            f"{files.manifest.version!r}",
        )
    return _load(files, tasks, settings, recent)


def _load(
    files: ArtifactFiles, tasks: TaskSet, settings: Settings, recent: Recent | None = None
) -> LoadedModel:
    found = files.manifest.task_set.names
    if found != tasks.names:
        raise ArtifactError(
            ArtifactFault.TASK_MISMATCH,
            f"{files.url}: predicts {', '.join(found)}, but the settings list "
            f"{', '.join(tasks.names)}; retrain it or change [[tasks]]",
        )
    hold_trial(files, recent)
    try:
        return LoadedModel(
            open_artifact(files),
            threads=settings.worker.score_threads,
            batch=settings.worker.score_batch,
            scenario_path=settings.policy.scenario_path,
        )
    except ScoringError as error:
        raise ArtifactError(ArtifactFault.BAD_MODEL, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Served:
    """What serves or served: the candidate and its model."""

    candidate: Candidate
    model: LoadedModel


class ModelWatcher(Service):  # type: ignore[misc]
    """Keeps the interceptor supplied with the model that should serve.

    Args:
        settings: Brokers, topics, registry, the artifact to begin with.
        install: Called on the event loop with each model that takes over.
        metrics: Where swaps and refusals are counted.
        recent: Ids of the newest requests with the hash of their spec, if there are any.
    """

    def __init__(
        self,
        settings: Settings,
        install: Callable[[LoadedModel], None],
        metrics: WorkerMetrics,
        recent: Callable[[], Recent | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._install = install
        self._metrics = metrics
        self._recent = recent
        self._registry = Registry(settings.model.registry)
        self._candidates = Candidates(settings.model.artifact)
        self._serving: _Served | None = None
        self._before: _Served | None = None
        self._rested_s = 0.0

    async def on_start(self) -> None:
        """Put the newest announced artifact that can be used, or the configured one, in service."""
        self._metrics.model(None)
        topic, refuse = self._settings.topics.models, self._metrics.refusals.refuse_batch
        self._announcements = TopicReader(self._settings.kafka, topic, refuse)
        await self.add_async_context(self._announcements)
        (partition, *_) = self._announcements.partitions
        while not await self._announcements.at_end(partition):
            await self._poll()
        until_s = time.monotonic() + START_S
        while self._serving is None and time.monotonic() < until_s:
            candidate = self._candidates.next(None, time.monotonic())
            if candidate is None:
                break
            await self._try(candidate)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self._poll()
            now_s = time.monotonic()
            serving = self._serving.candidate if self._serving else None
            candidate = self._candidates.next(serving, now_s)
            if candidate is not None and now_s >= self._rested_s:
                await self._try(candidate)
                self._rested_s = time.monotonic() + REST * (time.monotonic() - now_s)

    async def _poll(self) -> None:
        """Take in announcements; returns after half a second without any."""
        reader = self._announcements
        for records in (await reader.fetch(reader.partitions)).values():
            for record in records:
                with self._metrics.refusals.guard(record, "announcement ignored"):
                    announcement = ModelAnnouncement.from_bytes(record.value)
                    place = (record.topic, record.partition, record.offset)
                    self._announced(Candidate.announced(announcement, place))

    def _announced(self, candidate: Candidate) -> None:
        """Keep an announcement; one of what lies outside the registry takes no good one's place."""
        try:
            self._registry.below(candidate.url)
        except ArtifactError as error:
            self._refuse(candidate, error)
        else:
            self._candidates.announce(candidate)

    async def _try(self, candidate: Candidate) -> None:
        """Load a candidate beside the serving model and swap, or refuse it and keep the old one."""
        recent = self._recent()
        try:
            model = await in_daemon_thread(
                lambda: load_candidate(candidate, self._settings, recent)
            )
            self._install(model)
        except ArtifactError as error:
            self._refuse(candidate, error)
            return
        except Exception as error:  # noqa: BLE001 - no announcement may end a worker
            text = f"{candidate.url[:256]}: {type(error).__name__}: {error}"
            self._refuse(candidate, ArtifactError(ArtifactFault.UNTRIED, text))
            return
        if self._serving is not None and self._serving.model.proven:
            self._before = self._serving
        self._serving = _Served(candidate, model)
        self._metrics.model(ServingModel(model.version, model.created_s))
        logger.info("model %s serves, from %s", model.version, candidate.url)

    def failed(self, model: LoadedModel, error: Exception) -> LoadedModel | None:
        """Take a model that failed at a chunk out of service, for good.

        Args:
            model: What serves.
            error: What went wrong.

        Returns:
            What takes over: the model before it, or None to fail open.
        """
        assert self._serving is not None
        failed, self._serving, self._before = self._serving.candidate, self._before, None
        self._refuse(failed, ArtifactError(ArtifactFault.FAILED, f"{model.version}: {error}"))
        if self._serving is None:
            self._metrics.model(None)
            return None
        back = self._serving.model
        self._metrics.model(ServingModel(back.version, back.created_s))
        return back

    def _refuse(self, candidate: Candidate, error: ArtifactError) -> None:
        if not candidate.refuse(error.code, time.monotonic()):
            return
        self._metrics.refused(error.code)
        serves = f"{self._serving.model.version} serves" if self._serving else "FAIL OPEN"
        consequence = f"artifact {candidate.url[:256]!r} refused ({error.code}), {serves}"
        if candidate.place is not None:
            self._metrics.refusals.refuse(*candidate.place, error.message, consequence)
        else:
            logger.error("%s: %s", consequence, error.message)
