from pathlib import Path

import jsonschema
import orjson
import polars as pl
import pytest

from models.tasks import Task, TaskSet
from stream.replay.folder import ReplayFolder
from stream.report import Report, ReportError, build_report, write_report
from stream.report.content import LOG, SHIP, UNKNOWN
from stream.report.schema import published
from tests.stream.report.replays import TASKS, write_replay
from tests.stream.report.reports import HOSTILE

ONE = TaskSet([Task(name="click", window_s=1800)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ReplayFolder:
    path = tmp_path_factory.mktemp("replays") / "out"
    return ReplayFolder(write_replay(path, exchanges=("north", "south")))


@pytest.fixture(scope="module")
def made(folder: ReplayFolder) -> Report:
    return build_report(folder, TASKS, fail_if=["click.kept < 0", "passed > 0.1"])


def test_a_better_ranking_is_shipped(made: Report) -> None:
    """Arm b ranks with less noise than base and passes as many: it keeps more of every event."""
    (one,) = made.comparisons
    assert (one.arm, one.base, one.verdict) == ("b", "base", SHIP)
    assert one.base_passed == pytest.approx(0.6)
    assert one.differ == one.newly_passed + one.newly_blocked
    click = one.tasks[0]
    assert click.kept is not None
    assert 0 < click.kept.low < click.kept.value < click.kept.high
    assert click.equal_rate is not None
    assert click.equal_rate.change.low > 0
    assert [check.failed for check in made.checks] == [False, False]


def test_counts_add_up(made: Report, folder: ReplayFolder) -> None:
    """Groups, log and decisions count every request once."""
    (one,) = made.comparisons
    assert {grouping.by for grouping in one.groups} == {
        "scenario", "exchange", "device.geo.country",
    }  # fmt: skip
    for grouping in one.groups:
        assert sum(g.requests for g in grouping.groups) + grouping.other_requests == one.requests
        assert sum(g.newly_passed for g in grouping.groups) == one.newly_passed
    decided = folder.decisions("b").collect()
    north = folder.requests().collect()["by_exchange"] == "north"
    (found,) = (g for g in one.groups[1].groups if g.value == "north")
    assert found.arm_passed == pytest.approx((decided.filter(north)["verdict"] == "pass").mean())
    log = made.log
    assert log.passed + log.blocked + log.unknown == made.requests == 20_000
    assert (log.unseen, log.explored > 1000) == (0, True)
    assert made.rejects == {"invalid-json": 1, "no-request-id": 1}


def test_curves_rise_to_the_oracle(made: Report) -> None:
    """The better ranking lies above the other, and the oracle above both."""
    click = made.curves[0]
    base, better = click.arms
    middle = range(8, 32)
    assert all(better.kept[at] > base.kept[at] for at in middle)
    assert all(click.oracle[at] >= better.kept[at] for at in middle)
    assert click.share == 1.0


def test_the_views_are_those_of_every_arm(made: Report) -> None:
    """Table II, Figure 2, rejection and calibration per task; simulated scores are true."""
    assert [one.arm for one in made.views] == ["base", "b"]
    for one in made.views:
        assert {point.task for point in one.residual} == set(TASKS.names)
        assert {point.budget for point in one.strategies} == {"fixed", "growing"}
        assert {point.order for point in one.rejection} == {"uncertainty", "p(1-p)", "chance"}
        assert {bin_.task for bin_ in one.calibration} == set(TASKS.names)
        assert all((bin_.ece or 0.0) < 0.05 for bin_ in one.calibration)


def test_both_files_are_written(made: Report, folder: ReplayFolder) -> None:
    """The JSON follows the published schema; the page is one file of at most 500 KB."""
    write_report(folder.path, made)
    content = orjson.loads((folder.path / "report.json").read_bytes())
    jsonschema.validate(content, published())
    assert (folder.path / "report.html").stat().st_size <= 500_000
    assert not list(folder.path.glob("*.tmp"))


def test_one_arm_is_compared_with_the_log(tmp_path: Path) -> None:
    """Without --against the question is what replaces the policy that was live."""
    out = ReplayFolder(write_replay(tmp_path / "out", rows=2000, arms={}))
    (one,) = build_report(out, TASKS).comparisons
    assert (one.arm, one.base) == ("base", LOG)
    assert one.differ > 0


def test_without_outcomes_there_is_no_verdict(tmp_path: Path) -> None:
    """Decisions that differ are counted, and nothing is claimed of their value."""
    out = ReplayFolder(write_replay(tmp_path / "out", rows=2000, outcomes=False))
    made = build_report(out, TASKS)
    (one,) = made.comparisons
    assert (one.verdict, one.tasks, made.curves) == (UNKNOWN, [], [])
    assert one.differ > 0


def test_names_from_traffic_are_bounded(tmp_path: Path) -> None:
    """Whatever an exchange calls itself, both files are valid and the name is short."""
    names = tuple(text for text in HOSTILE if text != "\ud800")
    path = write_replay(tmp_path / "out", rows=2000, exchanges=names, source=HOSTILE[0])
    made = build_report(ReplayFolder(path), TASKS)
    write_report(path, made)
    jsonschema.validate(orjson.loads((path / "report.json").read_bytes()), published())
    (grouping,) = (g for g in made.comparisons[0].groups if g.by == "exchange")
    assert max(len(group.value) for group in grouping.groups) <= 80


def test_an_empty_replay_has_a_report(tmp_path: Path) -> None:
    """No request was decided: no figure, and no claim."""
    out = write_replay(tmp_path / "out", rows=100)
    for path in (
        *out.glob("*-00000.parquet"),
        *out.glob("arms/*/*.parquet"),
        out / "labels.parquet",
    ):
        pl.read_parquet(path).clear().write_parquet(path)
    made = build_report(ReplayFolder(out), TASKS)
    assert made.requests == 0
    assert made.comparisons[0].verdict == UNKNOWN
    write_report(out, made)
    jsonschema.validate(orjson.loads((out / "report.json").read_bytes()), published())


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    """Arms of other requests, a file that is no Parquet, and settings of other tasks."""
    out = write_replay(tmp_path / "out", rows=100)
    with pytest.raises(ReportError, match="give the settings of the replay"):
        build_report(ReplayFolder(out), ONE)
    part = out / "arms" / "b" / "decisions-00000.parquet"
    pl.read_parquet(part).reverse().write_parquet(part)
    with pytest.raises(ReportError, match=r"out: its tables cannot be read together.*replay again"):
        build_report(ReplayFolder(out), TASKS)
    part.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ReportError, match="cannot be read together"):
        build_report(ReplayFolder(out), TASKS)


def test_a_replay_that_does_not_fit_in_memory_has_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a number of rows every figure is a pass over the files."""
    out = ReplayFolder(write_replay(tmp_path / "out", rows=3000))
    in_memory = build_report(out, TASKS)
    monkeypatch.setattr("stream.report.tables.IN_MEMORY", 0)
    assert orjson.dumps(build_report(out, TASKS)) == orjson.dumps(in_memory)
