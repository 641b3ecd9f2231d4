"""A report as one frame: every figure once, with what it is about."""

from typing import Any

import orjson
import polars as pl

from stream.report import report_frame
from stream.report.content import Interval
from tests.stream.report.reports import comparison, group, report, task_change


def leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(leaves, value.values()))
    return sum(map(leaves, value)) if isinstance(value, list) else 1


def test_every_figure_is_a_row() -> None:
    """Those of the report, less the names that became columns."""
    made = report(comparison("b", task_change("deal", -0.5, 1.0, 2.0)))
    frame = report_frame(made)
    content = orjson.loads(orjson.dumps(made))
    named = frame.select("arm", "base", "task", "method", "by", "group", "check").n_unique()
    assert named > 1
    assert frame.height <= leaves(content)
    kept = frame.filter(pl.col("figure") == "comparisons.tasks.kept.low")
    assert kept.select("arm", "task").rows() == [("b", "deal")]
    (task,) = made.comparisons[0].tasks
    assert task.kept is not None
    assert kept["number"].to_list() == [task.kept.low]
    numbers = [n for n in _numbers(content) if n is not None]
    assert sorted(frame["number"].drop_nulls().to_list()) == sorted(numbers)


def _numbers(value: Any) -> list[float | None]:
    if isinstance(value, dict):
        return [n for inner in value.values() for n in _numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in _numbers(inner)]
    return [] if isinstance(value, str) or value is None else [float(value)]


def test_groups_name_property_value_and_task() -> None:
    """The change of a group is by task."""
    one = group("DEU", 0.4, 0.2, deal=Interval(1.0, 0.5, 1.5))
    frame = report_frame(report(comparison("b", task_change("deal", -1, 0, 1), groups=[_by(one)])))
    found = frame.filter(pl.col("figure").str.ends_with("change_per_1000.low"), group="DEU")
    assert found.select("by", "task", "number").rows() == [("device.geo.country", "deal", 0.5)]


def _by(one: Any) -> Any:
    from stream.report.content import Grouping  # noqa: PLC0415

    return Grouping("device.geo.country", [one], 0, 0)
