"""Which held candidates of the kept rebuilds are tried again."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from models.settings import ModelSettings, Settings
from tests.tiny_artifact import TASKS, Make
from tests.trainer.gates.test_report import report
from tests.trainer.gates.test_report import result as result_of
from tests.trainer.service.test_workspace import START
from trainer.gates.report import Gate, GateReport, Promise, Verdict
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.service.retests import Retests
from trainer.service.workspace import Workspace, Workspaces
from trainer.store.snapshot import Snapshot
from trainer.training.config import TrainConfig

PROMISE = Promise(
    rows=2_000,
    positives=20,
    mean_score=0.1,
    label_rate=0.1,
    passed_mean_score=0.1,
    passed_label_rate=0.1,
)


class Kept:
    """Rebuilds that have ended."""

    def __init__(self, folder: Path, make_artifact: Make) -> None:
        tasks = [task.model_dump() for task in TASKS]
        policy = {"weights": {"click": 1.0}}
        self.settings = Settings().override({"tasks": tasks, "policy": policy})
        self.workspaces = Workspaces(folder / "rebuilds", folder / "scratch")
        self._make = make_artifact
        self._number = 0

    def add(self, verdict: Verdict, url: str | None = None) -> Workspace:
        """One more, whose candidate learned from requests up to 9 ms."""
        self._number += 1
        workspace = self.workspaces.create(START + timedelta(hours=self._number))
        job = RebuildJob(
            store="store",
            watermark_ms=None,
            time_scale=1.0,
            lateness_s=0.0,
            most=1,
            serving="serving",
            serving_sha256="0" * 64,
            tasks=self.settings.tasks,
            folder=workspace.candidate,
            work=workspace.work,
            registry=ModelSettings(),
            config=TrainConfig(),
            seed=0,
            created=START,
        )
        workspace.write_job(job)
        np.save(job.seen_file, np.ones(3, np.bool_))
        self._make(f"c{self._number}").rename(workspace.candidate)
        result = RebuildResult(
            version=f"v{self._number}",
            url=url,
            manifest_sha256="",
            gates=self.gates(verdict),
            auc={},
            snapshot=Snapshot(1, 1, 0, 0, {}),
        )
        workspace.result_file.write_text(result.model_dump_json())
        workspace.end()
        return workspace

    def gates(self, verdict: Verdict) -> GateReport:
        found = report(result_of(Gate.LOG_LOSS, verdict).model_copy(update={"task": "click"}))
        return found.model_copy(update={"promised": {task.name: PROMISE for task in TASKS}})

    def due(self, newer: int = 4_000) -> Workspace | None:
        asked = []

        def labels(since_ms: int) -> dict[str, int]:
            asked.append(since_ms)
            return {task.name: newer for task in TASKS}

        found = Retests(self.settings, self.workspaces).due(labels)
        assert set(asked) <= {10}
        return found


@pytest.fixture
def kept(tmp_path: Path, make_artifact: Make) -> Kept:
    return Kept(tmp_path, make_artifact)


def test_the_newest_held_one_with_enough_newer_labels(kept: Kept) -> None:
    """Twice as many as in its trial; refused ones are not tried again."""
    assert kept.due() is None
    kept.add(Verdict.HOLD)
    newest = kept.add(Verdict.HOLD)
    kept.add(Verdict.FAIL)
    assert kept.due() == newest
    assert kept.due(newer=3_999) is None


def test_what_was_held_before_a_publication_is_past(kept: Kept) -> None:
    """Another model serves since, which was found better on newer requests."""
    kept.add(Verdict.HOLD)
    kept.add(Verdict.PASS, url="registry/v2")
    assert kept.due() is None
    newer = kept.add(Verdict.HOLD)
    assert kept.due() == newer


def test_what_a_retest_needs_must_be_there(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Without the candidate, or without what its training had seen, or with other tasks: none."""
    caplog.set_level("INFO")
    broken, other, unseen = (kept.add(Verdict.HOLD) for _ in range(3))
    (broken.candidate / "manifest.json").unlink()
    other.write_job(other.job().model_copy(update={"tasks": other.job().tasks[:1]}))
    unseen.job().seen_file.unlink()
    assert kept.due() is None
    assert f"{broken.folder}: not tried again" in caplog.text


def test_a_retest_begins_as_an_interrupted_rebuild_would_go_on(kept: Kept) -> None:
    """With the new job, without the old result, and with all attempts left."""
    workspace = kept.add(Verdict.HOLD)
    workspace.count_attempt()
    job = workspace.job().model_copy(update={"retest_ms": 77})
    workspace.begin_again(job)
    assert kept.workspaces.interrupted() == workspace
    assert (workspace.job().retest_ms, workspace.result()) == (77, None)
    assert workspace.count_attempt() == 1
    assert kept.due() is None
