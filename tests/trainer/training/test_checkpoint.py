import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress, TaskID

from models.artifact import load_artifact
from models.artifact.manifest import Manifest
from tests.trainer.small_world import CONFIG, CREATED, SPEC, TASKS, frame
from trainer.pipeline.train import train
from trainer.training.checkpoint import Checkpoint, CheckpointError, StateFile

JOB = {"examples": "3f", "config": {"threads": 1}, "seed": 1}


class StopAtError(Exception):
    """The process ends here."""


class StoppingProgress(Progress):
    """Bars that nobody sees, and that end the run when one gets as far as this."""

    def __init__(self, bar: str, share: float) -> None:
        super().__init__(disable=True)
        self.bar, self.share = bar, share

    def update(self, task_id: TaskID, **changes: Any) -> None:
        task = self.tasks[task_id]
        completed, total = changes["completed"], task.total
        if task.description == self.bar and total and completed >= self.share * total:
            raise StopAtError
        super().update(task_id, **changes)


def run(folder: Path, out: Path, seed: int = 0, progress: Progress | None = None) -> Manifest:
    return train(
        folder / "examples.parquet",
        SPEC,
        out,
        CONFIG,
        seed,
        created=CREATED,
        tasks=TASKS,
        progress=progress or Progress(disable=True),
        checkpoint=folder / "checkpoint",
    )


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    frame(1500, seed=1).write_parquet(tmp_path / "examples.parquet")
    return tmp_path


def test_a_run_stopped_in_every_part_gives_the_same_artifact(
    examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in any fit, between two and while labelling, it ends as if it never was."""
    plain = run(examples, examples / "plain")
    assert not (examples / "checkpoint").exists()
    monkeypatch.setattr(StateFile, "due", True)
    stops = [
        ("teacher", 0.1),
        ("teacher", 0.97),
        ("net without the newest rows", 0.5),
        ("stacked models", 1.0),
        ("labels", 0.5),
        ("student", 0.4),
    ]
    for stop in stops:
        with pytest.raises(StopAtError):
            run(examples, examples / "resumed", progress=StoppingProgress(*stop))
    assert (examples / "checkpoint" / "labels").exists()
    assert not (examples / "resumed").exists()
    assert run(examples, examples / "resumed") == plain
    assert load_artifact(examples / "resumed").manifest == plain
    assert not (examples / "checkpoint").exists()


@pytest.mark.slow
def test_a_killed_run_gives_the_same_artifact(tmp_path: Path) -> None:
    """SIGKILL after the first save, and the next run ends as one that nobody touched."""
    saved = tmp_path / "checkpoint" / "teacher.safetensors"
    script = [sys.executable, "-m", "tests.trainer.distributed_run", str(tmp_path)]
    with subprocess.Popen(script, env={**os.environ, "PYTHONPATH": "."}) as process:
        deadline = time.monotonic() + 200
        while not saved.exists():
            assert process.poll() is None, "the run ended before it saved anything"
            assert time.monotonic() < deadline, "the run saved nothing in time"
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "artifact").exists()
    resumed = run(tmp_path, tmp_path / "artifact")
    assert not saved.exists()
    assert resumed == run(tmp_path, tmp_path / "plain")


def test_another_jobs_checkpoint_is_refused(examples: Path) -> None:
    """Another seed or other examples end the run with their names, and leave the checkpoint."""
    with pytest.raises(StopAtError):
        run(examples, examples / "out", progress=StoppingProgress("teacher", 0.5))
    with pytest.raises(CheckpointError, match="another job: it differs in seed; name another"):
        run(examples, examples / "out", seed=1)
    frame(1500, seed=2).write_parquet(examples / "examples.parquet")
    with pytest.raises(CheckpointError, match="it differs in examples;"):
        run(examples, examples / "out")
    assert (examples / "checkpoint" / "job.json").exists()


def test_only_its_own_files_are_removed(tmp_path: Path) -> None:
    """What else lies in the folder stays, and so does the folder."""
    kept = Checkpoint(tmp_path / "c", JOB)
    kept.state("teacher").save({})
    (tmp_path / "c" / "notes").write_text("mine")
    kept.remove()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["notes"]


def test_a_second_process_reads_and_does_not_write(tmp_path: Path) -> None:
    """Of several processes one writes; the others find what it saved."""
    other = Checkpoint(tmp_path / "c", JOB, writes=False)
    other.state("teacher").save({})
    other.remove()
    assert not (tmp_path / "c").exists()
    Checkpoint(tmp_path / "c", JOB).state("teacher").save({})
    assert Checkpoint(tmp_path / "c", JOB, writes=False).state("teacher").load() == {}
