"""Held candidates of the kept rebuilds, and which of them is to be tried again."""

import logging
from collections.abc import Callable, Mapping

from models.artifact import ArtifactError, read_manifest
from models.settings import Settings
from models.tasks import TaskSet
from trainer.gates.report import GateReport, Verdict
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.retest.due import is_due
from trainer.service.workspace import Workspace, Workspaces

logger = logging.getLogger(__name__)
_Held = tuple[Workspace, GateReport, int]
NewerLabels = Callable[[int], Mapping[str, int]]
"""Number of requests from a time on (ms) whose label is final, by task."""


class Retests:
    """The held candidates.

    Args:
        settings: All settings.
        workspaces: The folders of rebuilds.
    """

    def __init__(self, settings: Settings, workspaces: Workspaces) -> None:
        self._tasks = settings.task_set
        self._workspaces = workspaces
        self._held: list[_Held] = []
        self.refresh()

    def refresh(self) -> None:
        """Read which candidates are held: those made since the last one that was published."""
        self._held = []
        for workspace in self._workspaces.newest_first():
            try:
                result, job = workspace.result(), workspace.job()
            except (OSError, ValueError):  # of another version of Weir, or damaged
                continue
            if result is None:
                continue
            if result.url is not None:
                return
            self._add(workspace, job, result)

    def due(self, newer: NewerLabels) -> Workspace | None:
        """The newest held candidate for which enough labels of newer requests are final."""
        for workspace, report, learned_ms in self._held:
            if is_due(report, self._tasks, newer(learned_ms + 1)):
                return workspace
        return None

    def _add(self, workspace: Workspace, job: RebuildJob, result: RebuildResult) -> None:
        """Add a candidate if it is held, and all is there that a retest needs."""
        held = result.gates.verdict is Verdict.HOLD
        if not held or TaskSet(job.tasks) != self._tasks or not job.seen_file.exists():
            return
        try:
            learned_ms = read_manifest(str(workspace.candidate)).training.ts_max
        except ArtifactError as error:
            logger.info("%s: not tried again: %s", workspace.folder, error)
            return
        self._held.append((workspace, result.gates, learned_ms))
