"""The model watcher: reads announcements, tries artifacts, and swaps the serving model.

The newest announced artifact on the topic ``models`` that can be used serves; until there
is one, the artifact of the settings. An artifact that cannot be used is refused with its code and
the coordinates of its announcement, and the serving model keeps serving. If the serving model fails
at a chunk, the one before it decides that very chunk. Without any model the worker fails open, and
the watcher keeps trying.

An announcement may give a version the role of canary or shadow instead: it is loaded beside the
serving model in the same way (:mod:`stream.intercept.challengers`).

Announcements are not trusted: only artifacts below the registry are read, only those that pass a
trial in a child process (:mod:`models.artifact.trial`) are loaded, and all of that happens in a
thread that the end of the process does not wait for.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiokafka import ConsumerRecord
from mode import Service

from models.artifact import ArtifactError, ArtifactFault
from models.artifact.registry import Registry
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.intercept.candidates import Candidate, Candidates
from stream.intercept.challengers import Challenger, Challengers
from stream.intercept.loaded_model import LoadedModel, Recent, load_candidate
from stream.messages import ModelAnnouncement, ModelRole
from stream.messages.topic_follower import TopicFollower
from stream.metrics.worker import ServingModel, WorkerMetrics

logger = logging.getLogger(__name__)

START_S: Final = 60.0
"""Longest time at the start for trying announced artifacts before the worker fails open."""
PAUSE_RATIO: Final = 3.0
"""An attempt is followed by a pause this many times as long, so that many announcements take a
quarter of a core at most."""
LOGGED_URL: Final = 256
"""Characters of a URL in a log line."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A model that serves or served, and its candidate."""

    candidate: Candidate
    model: LoadedModel


class ModelWatcher(Service):  # type: ignore[misc]
    """Keeps the interceptor supplied with the model that should serve.

    Args:
        settings: Brokers, topics, registry, and the configured artifact.
        install: Called on the event loop with each model that takes over.
        challenge: Called on the event loop with a role other than that of serving, and the
            challenger that has it from now on; None for none.
        metrics: Counts swaps and refusals.
        recent: Returns feature ids of the newest requests, if there are any.
    """

    def __init__(
        self,
        settings: Settings,
        install: Callable[[LoadedModel], None],
        challenge: Callable[[ModelRole, Challenger | None], None],
        metrics: WorkerMetrics,
        recent: Callable[[], Recent | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._install = install
        self._challenge = challenge
        self._metrics = metrics
        self._recent = recent
        self._registry = Registry.of(settings.model)
        self._configured_folder = self._registry.folder_of(settings.model.artifact)
        self._candidates = Candidates(settings.model.artifact)
        self._challengers = Challengers()
        self._serving: _Served | None = None
        self._previous: _Served | None = None
        self._paused_until_s = 0.0

    async def on_start(self) -> None:
        """Read all announcements and put the best usable artifact in service."""
        self._metrics.model(None)
        self._announcements = TopicFollower(
            *(self._settings.kafka, self._settings.topics.models, self._announced),
            self._metrics.refusals,
            consequence="announcement ignored",
        )
        await self.add_async_context(self._announcements)
        await self._announcements.poll_to_end()
        until_s = time.monotonic() + START_S
        while self._serving is None and time.monotonic() < until_s:
            candidate = self._candidates.next(None, time.monotonic())
            if candidate is None:
                break
            await self._try(candidate)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self._announcements.poll()
            now_s = time.monotonic()
            serving = self._serving.candidate if self._serving else None
            candidate = self._candidates.next(serving, now_s)
            challenger = None if candidate is not None else self._challengers.next(now_s)
            if (candidate or challenger) and now_s >= self._paused_until_s:
                if candidate is not None:
                    await self._try(candidate)
                elif challenger is not None:
                    await self._try_challenger(challenger)
                done_s = time.monotonic()
                self._paused_until_s = done_s + PAUSE_RATIO * (done_s - now_s)

    def _announced(self, record: ConsumerRecord) -> None:
        """Add an announced candidate, unless it lies outside the registry.

        Few candidates are kept: one that can never be used must not displace a usable one.
        """
        announcement = ModelAnnouncement.from_bytes(record.value)
        coordinates = (record.topic, record.partition, record.offset)
        candidate = Candidate.announced(announcement, coordinates)
        try:
            folder = self._registry.below(candidate.url)
        except ArtifactError as error:
            self._refuse(candidate, error)
            return
        if announcement.role is ModelRole.SERVE:
            self._candidates.add(candidate, configured=folder == self._configured_folder)
            self._challengers.supersede(candidate)
        else:
            challenger = Challenger(candidate, announcement.role, announcement.share)
            self._challengers.announce(challenger)
        self._show_challengers()

    async def _try(self, candidate: Candidate) -> None:
        """Load a candidate beside the serving model and swap, or refuse it.

        A canary that is promoted is loaded already.
        """
        model = self._challengers.promote(candidate) or await self._load(candidate)
        if model is None or not self._put_in_service(candidate, model):
            return
        if self._serving is not None and self._serving.model.proven:
            self._previous = self._serving
        self._serving = _Served(candidate, model)
        self._challengers.served(candidate)
        self._show_challengers()
        self._metrics.model(ServingModel(model.version, model.created_s))
        logger.info("model %s serves, from %s", model.version, candidate.url)

    async def _try_challenger(self, challenger: Challenger) -> None:
        """Load a challenger beside the serving model, or refuse it."""
        model = await self._load(challenger.candidate)
        if model is None or not self._challengers.has(challenger):  # another one, meanwhile
            return
        challenger.model = model
        self._show_challengers()
        logger.info(
            "model %s is %s with a share of %g, from %s",
            *(model.version, challenger.role, challenger.share, challenger.candidate.url),
        )

    async def _load(self, candidate: Candidate) -> LoadedModel | None:
        """Verify, try and load a candidate; None if it is refused."""
        recent = self._recent()
        try:
            return await in_daemon_thread(lambda: load_candidate(candidate, self._settings, recent))
        except Exception as error:  # noqa: BLE001 - no announcement may end a worker
            self._refuse_for(candidate, error)
            return None

    def _put_in_service(self, candidate: Candidate, model: LoadedModel) -> bool:
        try:
            self._install(model)
        except Exception as error:  # noqa: BLE001 - no announcement may end a worker
            self._refuse_for(candidate, error)
            return False
        return True

    def _show_challengers(self) -> None:
        """Hand over the challengers in force, and publish their versions."""
        for role in (ModelRole.CANARY, ModelRole.SHADOW):
            found = self._challengers.loaded(role)
            self._challenge(role, found)
            self._metrics.in_role(role, None if found is None else found.candidate.version)

    def failed(self, model: LoadedModel, error: Exception) -> LoadedModel | None:
        """Take a model that failed at a chunk out of service, for good.

        Args:
            model: The serving model, or that of a challenger.
            error: Exception that it raised.

        Returns:
            The model that takes over: of a serving one the one before it, of a challenger the
            serving one; None to fail open.
        """
        challenger = self._challengers.drop(model)
        if challenger is not None:
            fault = ArtifactError(ArtifactFault.FAILED, f"{model.version}: {error}")
            self._refuse(challenger.candidate, fault)
            self._show_challengers()
            return None if self._serving is None else self._serving.model
        assert self._serving is not None
        failed, self._serving, self._previous = self._serving.candidate, self._previous, None
        self._refuse(failed, ArtifactError(ArtifactFault.FAILED, f"{model.version}: {error}"))
        if self._serving is None:
            self._metrics.model(None)
            return None
        previous = self._serving.model
        self._metrics.model(ServingModel(previous.version, previous.created_s))
        return previous

    def _refuse_for(self, candidate: Candidate, error: Exception) -> None:
        """Skip a candidate for an error of any kind."""
        if not isinstance(error, ArtifactError):
            text = f"{candidate.url[:LOGGED_URL]}: {type(error).__name__}: {error}"
            error = ArtifactError(ArtifactFault.UNTRIED, text)
        self._refuse(candidate, error)

    def _refuse(self, candidate: Candidate, error: ArtifactError) -> None:
        """Skip a candidate; a fault is counted and logged when it differs from the last one."""
        if not candidate.refuse(error.code, time.monotonic()):
            return
        self._metrics.refused(error.code)
        serves = f"{self._serving.model.version} serves" if self._serving else "FAIL OPEN"
        consequence = f"artifact {candidate.url[:LOGGED_URL]!r} refused ({error.code}), {serves}"
        if candidate.coordinates is not None:
            self._metrics.refusals.refuse(*candidate.coordinates, error.message, consequence)
        else:
            logger.error("%s: %s", consequence, error.message)
