"""A model ready to serve, and how an artifact becomes one: verify, try in a child process, load."""

from typing import Final

import numpy as np
import numpy.typing as npt

from models.artifact import (
    Artifact,
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    open_artifact,
)
from models.artifact.registry import Registry
from models.artifact.scorer import Scorer, ScoringError
from models.artifact.trial import hold_trial
from models.features import Extractor
from models.settings import Settings
from models.tasks import TaskSet
from stream.intercept.candidates import Candidate
from stream.policy.scenario_index import scenario_feature

Recent = tuple[str, npt.NDArray[np.int32]]
"""Hash of a spec, and feature ids of recent requests that it extracted; a trial scores them."""


class LoadedModel:
    """An artifact ready to serve: its extractor and its warmed scorer.

    Args:
        artifact: A verified artifact.
        threads: Threads of one inference.
        batch: Requests per inference.
        scenario_path: Path of the scenario's name in requests, or empty.

    Attributes:
        proven: Whether it has scored a request.

    Raises:
        ArtifactError: If the runtime refuses the model.
        ScoringError: If it cannot score.
    """

    def __init__(
        self, artifact: Artifact, *, threads: int, batch: int, scenario_path: str = ""
    ) -> None:
        self.version: str = artifact.manifest.version
        self.manifest_sha256: str = artifact.manifest_sha256
        self.created_s: float = artifact.manifest.created_s
        self.proven = False
        self.tasks: TaskSet = artifact.tasks
        self.auto = artifact.manifest.auto
        self.spec_hash: str = artifact.spec.hash
        self.reads_scenario: Final = bool(scenario_path)
        features = artifact.spec.features
        if scenario_path:
            features = (*features, scenario_feature(scenario_path, artifact.spec.columns))
        self.extractor = Extractor(features)
        self.scorer = Scorer(artifact, threads=threads, batch=batch)
        self.scorer.warm_up()


def load_model(url: str, tasks: TaskSet, settings: Settings) -> LoadedModel:
    """Verify, try and load an artifact that the settings or a command line name.

    Args:
        url: Folder, fsspec URL, or ``pretrained:NAME``.
        tasks: Tasks that it must predict.
        settings: Threads and batch size.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    return _load(Registry.of(settings.model).fetch_configured(url), tasks, settings)


def try_model(url: str, tasks: TaskSet, settings: Settings) -> ArtifactFiles:
    """Verify and try an artifact that other processes are to load; see :func:`load_model`.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    files = Registry.of(settings.model).fetch_configured(url)
    _try(files, tasks)
    return files


def load_candidate(
    candidate: Candidate, settings: Settings, recent: Recent | None = None
) -> LoadedModel:
    """Verify, try and load a candidate; an announced one must lie below the registry.

    The keys are read each time, so that a change of them needs no restart.

    Args:
        candidate: The candidate.
        settings: Registry, tasks, threads and batch size.
        recent: Feature ids for the trial.

    Raises:
        ArtifactError: With its code, if anything is wrong.
    """
    tasks = settings.task_set
    registry = Registry.of(settings.model)
    if candidate.manifest_sha256 is None:
        files = registry.fetch_configured(candidate.url, candidate.announced_sha256)
        return _load(files, tasks, settings, recent)
    files = registry.fetch(candidate.url, candidate.manifest_sha256)
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
    _try(files, tasks, recent)
    try:
        return LoadedModel(
            open_artifact(files),
            threads=settings.worker.score_threads,
            batch=settings.worker.score_batch,
            scenario_path=settings.policy.scenario_path,
        )
    except ScoringError as error:
        raise ArtifactError(ArtifactFault.BAD_MODEL, str(error)) from error


def _try(files: ArtifactFiles, tasks: TaskSet, recent: Recent | None = None) -> None:
    found = files.manifest.task_set.names
    if found != tasks.names:
        raise ArtifactError(
            ArtifactFault.TASK_MISMATCH,
            f"{files.url}: predicts {', '.join(found)}, but the settings list "
            f"{', '.join(tasks.names)}; retrain it or change [[tasks]]",
        )
    hold_trial(files, recent)
