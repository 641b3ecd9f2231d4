"""The folders of rebuilds: which one is gone on with, and what is removed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from models.settings.model import ModelSettings
from tests.trainer.gates.test_report import report
from tests.trainer.gates.test_report import result as result_of
from trainer.gates.report import Gate, Verdict
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.service.workspace import KEPT, LastRebuild, Workspace, Workspaces
from trainer.store.snapshot import Snapshot
from trainer.training.config import TrainConfig

START = datetime(2026, 5, 1, tzinfo=UTC)


def made(folder: Path, number: int) -> Workspace:
    workspaces = Workspaces(folder / "rebuilds", folder / "scratch")
    workspace = workspaces.create(START + timedelta(hours=number))
    workspace.job_file.write_text("{}")
    return workspace


def interrupted(folder: Path) -> Workspace | None:
    return Workspaces(folder / "rebuilds", folder / "scratch").interrupted()


def test_the_newest_interrupted_one_is_gone_on_with(tmp_path: Path) -> None:
    """Older ones, and those without a job, lose their scratch folders."""
    old, newest, without_job = made(tmp_path, 0), made(tmp_path, 1), made(tmp_path, 2)
    without_job.job_file.unlink()
    assert interrupted(tmp_path) == newest
    assert [folder.exists() for folder in (old.scratch, newest.scratch, without_job.scratch)] == [
        False, True, False,
    ]  # fmt: skip
    assert old.job_file.exists()


def test_an_ended_one_is_not_interrupted(tmp_path: Path) -> None:
    """Also if the trainer was killed while it removed the scratch folder."""
    made(tmp_path, 0).end()
    assert interrupted(tmp_path) is None
    half_removed = made(tmp_path, 1)
    half_removed.scratch.rename(half_removed.scratch.with_name("rebuild-x.ended"))
    assert interrupted(tmp_path) is None
    assert not list((tmp_path / "scratch").iterdir())
    assert half_removed.job_file.exists()


def test_attempts_are_counted_across_trainers(tmp_path: Path) -> None:
    """A process that ends its trainer each time is not started for ever."""
    workspace = made(tmp_path, 0)
    assert workspace.count_attempt() == 1
    again = interrupted(tmp_path)
    assert again is not None
    assert again.count_attempt() == 2


def test_temporary_files_of_an_attempt_are_gone_in_the_next(tmp_path: Path) -> None:
    """The folder of temporary files is empty, while snapshot and checkpoint stay."""
    workspace = made(tmp_path, 0)
    (workspace.fresh_temporary() / "rows").write_text("of the first attempt")
    workspace.work.mkdir()
    assert not list(workspace.fresh_temporary().iterdir())
    assert workspace.work.exists()


def test_a_failure_is_remembered_until_the_next_one_begins(tmp_path: Path) -> None:
    """With its reason; of a retest, which nobody repeats, it is not."""
    workspaces = Workspaces(tmp_path / "rebuilds", tmp_path / "scratch")
    assert workspaces.last() is None
    job = RebuildJob(
        store="store",
        watermark_ms=None,
        time_scale=1.0,
        lateness_s=0.0,
        most=1,
        serving="serving",
        serving_sha256="0" * 64,
        tasks=(),
        folder=tmp_path,
        work=tmp_path,
        registry=ModelSettings(),
        config=TrainConfig(),
        seed=0,
        created=START,
    )
    first = made(tmp_path, 0)
    first.write_job(job)
    assert workspaces.last() == LastRebuild(job, failed=False)
    first.fail(OSError("no space"))
    assert first.failed_file.read_text() == "OSError: no space\n"
    assert not first.scratch.exists()
    assert workspaces.last() == LastRebuild(job, failed=True)
    first.begin_again(retest := job.model_copy(update={"retest_ms": 5}))
    assert workspaces.last() == LastRebuild(retest, failed=False)
    first.fail(OSError("no space"))
    assert workspaces.last() == LastRebuild(retest, failed=False)
    made(tmp_path, 1).write_job(job)
    assert workspaces.last() == LastRebuild(job, failed=False)


def test_the_last_ten_are_kept(tmp_path: Path) -> None:
    """Frequent rebuilds do not fill the disk."""
    for number in range(KEPT + 3):
        made(tmp_path, number).end()
    kept = sorted(folder.name for folder in (tmp_path / "rebuilds").iterdir())
    assert len(kept) == KEPT
    assert kept[-1].startswith("20260501T12")


def test_refused_candidates_are_counted_since_the_last_published_one(tmp_path: Path) -> None:
    """Refused, published, refused, failed without a result, held, refused: two in a row."""
    workspaces = Workspaces(tmp_path / "rebuilds", tmp_path / "scratch")
    assert workspaces.refused_in_row() == 0
    ends = (
        (None, Verdict.FAIL),
        ("registry/v1", Verdict.PASS),
        (None, Verdict.FAIL),
        ("", Verdict.PASS),
        (None, Verdict.HOLD),
        (None, Verdict.FAIL),
    )
    for number, (url, verdict) in enumerate(ends):
        workspace = made(tmp_path, number)
        if url != "":
            snapshot = Snapshot(rows=1, watermark=1, too_many=0, unfit=0, unreadable={})
            result = RebuildResult(
                version=f"v{number}",
                url=url,
                manifest_sha256="",
                gates=report(result_of(Gate.REWARD, verdict)),
                auc={},
                snapshot=snapshot,
            )
            workspace.result_file.write_text(result.model_dump_json())
    assert workspaces.refused_in_row() == 2
    (tmp_path / "rebuilds" / "20260502T000000000000").mkdir()
    (tmp_path / "rebuilds" / "20260502T000000000000" / "result.json").write_text("{")
    assert workspaces.refused_in_row() == 2
