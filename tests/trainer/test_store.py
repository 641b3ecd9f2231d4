"""The example store."""

import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.store
from models.examples import example_schema
from models.tasks import Task, TaskSet
from stream.records import Decision, Reason, TrainingExample
from trainer.store import ExampleStore, StoreError

TASKS = TaskSet([Task(name="click", window_s=20), Task(name="deal", window_s=60)])


def example(number: int, ts: int = 0, click: int | None = None) -> TrainingExample:
    decision = Decision("m1", 0.5, None, Reason.EXPLORE, 0.25, number)
    labels = {"click": click, "deal": None if click is None else 0}
    return TrainingExample(f"r{number}", ts, "spec", [number, 2], labels, decision)


def test_every_field_of_an_example_is_stored(tmp_path: Path) -> None:
    """A stored example comes back with all of its fields, under the contract's column names."""
    ExampleStore(tmp_path, TASKS).append([example(3, 77, click=1)], {0: 1})
    frame = ExampleStore(tmp_path, TASKS).read()
    assert dict(frame.schema) == example_schema(TASKS)
    assert frame.row(0, named=True) == {
        "request_id": "r3",
        "ts": 77,
        "spec": "spec",
        "features": [3, 2],
        "label_click": 1,
        "label_deal": 0,
        "model": "m1",
        "reason": "explore",
        "e": 0.5,
        "threshold": None,
        "propensity": 0.25,
    }


def test_the_newest_example_of_a_request_wins(tmp_path: Path) -> None:
    """What was masked is superseded by what came later; a slice is cut by the request's time."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1, 10), example(2, 20), example(1, 10, click=0)], {0: 3})
    store.append([example(2, 20, click=1), example(3, 30)], {1: 2})
    frame = store.read()
    assert frame.select("request_id", "label_click").rows() == [("r1", 0), ("r2", 1), ("r3", None)]
    assert store.read(since_ms=20, until_ms=30)["request_id"].to_list() == ["r2"]
    assert len(store.read(spec="other")) == 0
    assert store.offsets == {0: 3, 1: 2}


class CrashError(Exception):
    """The process ends here."""


class CrashingOs:
    """The os module, ending the process before the n-th step that touches the disk."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __getattr__(self, name: str) -> object:
        if name in {"open", "fsync", "close", "link"}:
            if self.left == 0:
                raise CrashError
            self.left -= 1
        return getattr(os, name)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=5))
def test_a_crash_between_any_two_steps_neither_loses_nor_doubles(
    batches: list[tuple[int, int]],
) -> None:
    """After any crash the rows are exactly those before the stored offset."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for size, steps in batches:
            store = ExampleStore(folder, TASKS)
            start = store.offsets.get(0, 0)
            patch.setattr(trainer.store, "os", CrashingOs(steps))
            crashed = False
            try:
                store.append([example(n) for n in range(start, start + size)], {0: start + size})
            except CrashError:
                crashed = True
            patch.setattr(trainer.store, "os", os)
            end = ExampleStore(folder, TASKS).offsets.get(0, 0)
            assert end == start + size or (crashed and end == start)
            parts = [pl.read_parquet(part) for part in sorted(Path(folder).glob("*.parquet"))]
            rows = [rid for part in parts for rid in part["request_id"]]
            assert rows == [f"r{number}" for number in range(end)]
            assert not list(Path(folder).glob("*.tmp"))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Two trainers on one store would overwrite each other's parts."""
    first, second = ExampleStore(tmp_path, TASKS), ExampleStore(tmp_path, TASKS)
    first.append([example(1)], {0: 1})
    with pytest.raises(StoreError, match=r"part-0000000000\.parquet"):
        second.append([example(2)], {0: 1})
    assert ExampleStore(tmp_path, TASKS).read()["request_id"].to_list() == ["r1"]


def test_errors_name_file_and_column(tmp_path: Path) -> None:
    """A store written for other tasks, and a part that is no Parquet, are refused by name."""
    ExampleStore(tmp_path, TASKS).append([example(1)], {0: 1})
    with pytest.raises(StoreError, match=r"part-0000000000\.parquet: label_cart is missing"):
        ExampleStore(tmp_path, TaskSet([Task(name="cart", window_s=1)]))
    (tmp_path / "part-0000000001.parquet").write_bytes(b"no")
    with pytest.raises(StoreError, match=r"part-0000000001\.parquet: not a readable"):
        ExampleStore(tmp_path, TASKS)
