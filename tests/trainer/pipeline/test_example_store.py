"""The example store."""

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.pipeline.example_store
from models.data.examples import WEIGHT, example_schema
from models.tasks import Task, TaskSet
from stream.messages import Decision, Reason, TrainingExample
from trainer.pipeline.example_store import ExampleStore, StoreError

TASKS = TaskSet([Task(name="click", window_s=20), Task(name="deal", window_s=60)])


def example(number: int, ts: int = 0, click: int | None = None) -> TrainingExample:
    decision = Decision("m1", 0.5, None, Reason.EXPLORE, 0.25, number)
    labels = {"click": click, "deal": None if click is None else 0}
    return TrainingExample(f"r{number}", ts, "spec", [number, 2], labels, decision, 4.0)


def stored(store: ExampleStore) -> pl.DataFrame:
    """All rows of a store as they lie there."""
    return pl.concat([pl.read_parquet(part) for part in store.parts])


def test_every_field_of_an_example_is_stored(tmp_path: Path) -> None:
    """A stored example comes back with all of its fields, under the contract's column names."""
    ExampleStore(tmp_path, TASKS).append([example(3, 77, click=1)], {0: 1})
    frame = stored(ExampleStore(tmp_path, TASKS))
    assert dict(frame.schema) == example_schema(TASKS) | {WEIGHT: pl.Float64()}
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
        "weight": 4.0,
    }


def test_rows_and_offsets_are_those_of_all_parts(tmp_path: Path) -> None:
    """A store that is opened again knows how many rows it has, and where consumption goes on."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1, 10), example(2, 20), example(1, 10, click=0)], {0: 3})
    store.append([example(2, 20, click=1), example(3, 30)], {1: 2})
    again = ExampleStore(tmp_path, TASKS)
    assert again.rows == store.rows == 5
    assert again.offsets == store.offsets == {0: 3, 1: 2}


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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=5))
def test_a_crash_between_any_two_steps_neither_loses_nor_doubles(
    batches: list[tuple[int, int]],
) -> None:
    """After any crash the rows are exactly those before the stored offset."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for size, steps in batches:
            store = ExampleStore(folder, TASKS)
            start = store.offsets.get(0, 0)
            patch.setattr(trainer.pipeline.example_store, "os", CrashingOs(steps))
            crashed = False
            try:
                store.append([example(n) for n in range(start, start + size)], {0: start + size})
            except CrashError:
                crashed = True
            patch.setattr(trainer.pipeline.example_store, "os", os)
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
    assert stored(ExampleStore(tmp_path, TASKS))["request_id"].to_list() == ["r1"]


def test_a_store_of_other_tasks_is_refused_by_name(tmp_path: Path) -> None:
    """The file, the column, and what to do."""
    ExampleStore(tmp_path, TASKS).append([example(1)], {0: 1})
    with pytest.raises(StoreError, match=r"part-0000000000\.parquet: label_cart is missing"):
        ExampleStore(tmp_path, TaskSet([Task(name="cart", window_s=1)]))


def test_a_damaged_part_is_set_aside_and_its_examples_are_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a newest part: named, kept beside, and consumption goes on where the part before did."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1)], {0: 1})
    store.append([example(2)], {0: 2})
    newest = store.parts[-1]
    newest.write_bytes(newest.read_bytes()[:200])
    again = ExampleStore(tmp_path, TASKS)
    assert (again.offsets, again.rows) == ({0: 1}, 1)
    assert again.quarantined == [tmp_path / "part-0000000001.unreadable"]
    assert "part-0000000001.parquet: damaged" in caplog.text
    again.append([example(2)], {0: 2})
    assert stored(ExampleStore(tmp_path, TASKS))["request_id"].to_list() == ["r1", "r2"]


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size`, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stores_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    """The error is an OSError that names the file; rows and offsets stay, nothing lies about."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1)], {0: 1})
    many = [example(number) for number in range(2_000)]
    with small_disk(1_000), pytest.raises(OSError, match=r"part-0000000001\.tmp"):
        store.append(many, {0: 2_001})
    assert (store.offsets, store.rows) == ({0: 1}, 1)
    assert not list(tmp_path.glob("*.tmp"))
    store.append(many, {0: 2_001})
    again = ExampleStore(tmp_path, TASKS)
    assert (again.offsets, again.rows) == ({0: 2_001}, 2_001)
