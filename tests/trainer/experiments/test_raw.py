from pathlib import Path

import pytest

from trainer.experiments.raw import Measured, RawStore, ResultsError


def measured(value: float) -> Measured:
    found = Measured()
    found.add("passing", {"points": value})
    found.draw("figure", [0.0, 0.1], [value, value + 1])
    return found


def test_finished_units_come_back(tmp_path: Path) -> None:
    """A new run of the same plan finds what the old one finished, to the last digit."""
    store = RawStore(tmp_path, "plan")
    store.put("setting/base", 1, measured(0.1 + 0.2))
    store.put("setting/base", 2, measured(float("inf")))
    again = RawStore(tmp_path, "plan")
    assert again.done == store.done


def test_a_unit_that_a_kill_cut_short_is_not_there(tmp_path: Path) -> None:
    """A last line without its end is left out, and the next unit does not grow onto it."""
    path = tmp_path / "raw.jsonl"
    store = RawStore(tmp_path, "plan")
    store.put("a", 1, measured(1.0))
    store.put("b", 1, measured(2.0))
    path.write_text(path.read_text()[:-30])
    resumed = RawStore(tmp_path, "plan")
    assert list(resumed.done) == [("a", 1)]
    resumed.put("b", 1, measured(2.0))
    assert RawStore(tmp_path, "plan").done == store.done


def test_results_of_another_plan_are_refused(tmp_path: Path) -> None:
    """Mixing sizes or data would give figures of nothing in particular."""
    RawStore(tmp_path, "quick")
    with pytest.raises(ResultsError, match="another plan"):
        RawStore(tmp_path, "full")


def test_parts_see_each_other(tmp_path: Path) -> None:
    """What one process finished, another neither runs again nor leaves out of the report."""
    first = RawStore(tmp_path, "plan", "raw-1")
    first.put("a", 1, measured(1.0))
    second = RawStore(tmp_path, "plan", "raw-2")
    second.put("b", 1, measured(2.0))
    together = RawStore(tmp_path, "plan")
    assert together.done == {**first.done, ("b", 1): measured(2.0)}
