"""Snapshots of the store."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.store.snapshot
import trainer.store.spill
from stream.messages import Outcome, TrainingExample
from tests.trainer.store.rows import (
    OUTCOMES,
    SPEC,
    START,
    WINDOWS,
    append,
    brute_force,
    contents,
    example,
    read,
    store_at,
)
from trainer.store.locations import StoreError
from trainer.store.snapshot import Snapshot, write_snapshot

HOUR = 3_600_000


def snapshot(store: Path, folder: Path, most: int = 10**9) -> Snapshot:
    return write_snapshot(str(store), folder, SPEC, WINDOWS, most)


def test_a_request_has_its_columns_labels_delays_and_elapsed_time(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    made = [example("a", START, site=5), example("b", START + 1_000)]
    hits = [
        Outcome("a", "click", START + 60_000),
        Outcome("a", "click", START + 300),
        Outcome("b", "deal", START + 1_000),  # not after the request
        Outcome("b", "click", START + 61_001),  # after the window
        Outcome("b", "cart", START + 2_000),  # no task of this snapshot
        Outcome("c", "click", START + 2_000),  # no request
    ]
    append(store, made, hits, START + 67_000)
    done = snapshot(tmp_path, tmp_path / "out")
    assert done == Snapshot(2, START + 67_000, 0, 0, {})
    frame = read(tmp_path / "out").sort("ts")
    assert frame.row(0, named=True) == {
        "request_id": "a",
        "ts": START,
        "spec": SPEC.hash,
        "features": [5],
        "model": "m1",
        "reason": "explore",
        "e": 0.5,
        "threshold": None,
        "propensity": 0.25,
        "weight": 2.0,
        "scenario": 9,
        "elapsed": 67_000,
        "label_click": 1,
        "delay_click": 300,
        "label_deal": None,
        "delay_deal": None,
    }
    assert frame.row(1, named=True)["label_click"] == 0
    assert frame.schema["label_deal"] == pl.Int8
    assert frame.schema["delay_deal"] == pl.Int64


def test_an_outcome_that_comes_late_corrects_its_label(tmp_path: Path) -> None:
    """Long after the window closed, the next snapshot has the event that was missing."""
    store = store_at(tmp_path)
    append(store, [example("a", START)], [], START + 24 * HOUR)
    snapshot(tmp_path, tmp_path / "before")
    append(store, [], [Outcome("a", "deal", START + HOUR)], START + 24 * HOUR)
    snapshot(tmp_path, tmp_path / "after")
    assert contents(tmp_path / "before")["a"]["label_deal"] == 0
    assert contents(tmp_path / "after")["a"] == {
        "ts": START,
        "elapsed": 24 * HOUR,
        "site": 3,
        "label_click": 0,
        "delay_click": None,
        "label_deal": 1,
        "delay_deal": HOUR,
    }


def test_the_newest_hours_are_read_until_there_are_enough(tmp_path: Path) -> None:
    """Repeated deliveries do not count, hours that are not needed are not opened."""
    store = store_at(tmp_path)
    for hour in range(6):
        made = [example(f"r{hour}-{n}", START + hour * HOUR + n) for n in range(10)]
        append(store, [*made, example("again", START + hour * HOUR + 99)], [], START)
    for file in store.examples.files[:2]:
        Path(file.url).write_bytes(b"not Parquet, but not read either")
    done = snapshot(tmp_path, tmp_path / "out", most=33)
    assert (done.rows, done.unreadable) == (33, {})
    wanted = {"again"} | {f"r{hour}-{n}" for hour in (3, 4, 5) for n in range(10)}
    found = set(contents(tmp_path / "out"))
    assert wanted < found
    assert found - wanted == {"r2-8", "r2-9"}
    assert done.too_many == 2 * 11 + 8


def test_requests_of_one_millisecond_are_cut_exactly(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    append(store, [example(f"r{n}", START + 5) for n in range(50)], [], START)
    done = snapshot(tmp_path, tmp_path / "out", most=20)
    assert (done.rows, done.too_many) == (20, 30)


def test_other_specs_and_unfit_rows_are_left_out(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    made = [
        example("a", START),
        example("a", START + 9, spec="other"),
        example("b", START, site=12),
    ]
    append(store, made, [], START)
    done = snapshot(tmp_path, tmp_path / "out")
    assert (done.rows, done.unfit) == (1, 1)
    assert contents(tmp_path / "out")["a"]["ts"] == START


def test_a_damaged_or_missing_file_is_named_and_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(tmp_path)
    for hour in range(4):
        append(store, [example(f"r{hour}", START + hour * HOUR)], [], START)
    damaged, missing = (Path(file.url) for file in store.examples.files[:2])
    damaged.write_bytes(damaged.read_bytes()[:-30])
    missing.unlink()
    done = snapshot(tmp_path, tmp_path / "out")
    assert done.rows == 2
    assert set(done.unreadable) == {str(damaged), str(missing)}
    assert f"{damaged}: skipped, its 1 rows are missing" in caplog.text


def test_an_empty_store_makes_an_empty_snapshot(tmp_path: Path) -> None:
    store_at(tmp_path)
    done = snapshot(tmp_path, tmp_path / "out")
    assert done == Snapshot(0, None, 0, 0, {})
    assert read(tmp_path / "out").schema["label_click"] == pl.Int8


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path}/none/examples"):
        snapshot(tmp_path / "none", tmp_path / "out")


IDS = st.sampled_from(["a", "b", "c", "d", "e"])
TIMES = st.integers(0, 3 * HOUR) | st.integers(0, 70_000)
SITES, NAMES = st.integers(0, 11), st.sampled_from(["click", "deal"])
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda rid, at, site: example(rid, START + at, site), IDS, TIMES, SITES),
        st.builds(lambda rid, task, at: Outcome(rid, task, START + at), IDS, NAMES, TIMES),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(EVENTS, min_size=1, max_size=4),
    watermark=st.none() | st.integers(START, START + 4 * HOUR),
    bucket_rows=st.sampled_from([2, 500_000]),
)
def test_a_snapshot_is_the_join_of_everything_that_was_stored(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Any]],
    watermark: int | None,
    bucket_rows: int,
) -> None:
    """In any order, with repeated ids, in one bucket or many: as a join of lists in memory."""
    folder = tmp_path_factory.mktemp("store")
    store = store_at(folder)
    deliveries, outcomes = [], []
    for events in batches:
        made = [event for event in events if isinstance(event, TrainingExample)]
        hits = [event for event in events if isinstance(event, Outcome)]
        append(store, made, hits, watermark)
        deliveries += [(one, 0, len(deliveries) + number) for number, one in enumerate(made)]
        outcomes += hits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.store.spill, "BUCKET_ROWS", bucket_rows)
        patch.setattr(trainer.store.snapshot, "GROUP_ROWS", 3)
        write_snapshot(str(folder), folder / "out", SPEC, WINDOWS, 10**9)
    assert contents(folder / "out") == brute_force(deliveries, outcomes, watermark)
    assert store_at(folder).offset(OUTCOMES, 0) == len(outcomes)


@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=20),
    cut=st.floats(0.5, 1) | st.just(1.0),
)
def test_no_damage_of_a_file_ends_a_snapshot(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], cut: float
) -> None:
    """Bytes that are changed or cut off: what is in the other files is there."""
    folder = tmp_path_factory.mktemp("store")
    store = store_at(folder)
    append(store, [example(f"r{n}", START + n) for n in range(300)], [], START)
    append(store, [example(f"s{n}", START + HOUR + n) for n in range(5)], [], START)
    file = Path(store.examples.files[0].url)
    damaged = bytearray(file.read_bytes())
    for place, change in changes:
        damaged[int(place * (len(damaged) - 1))] ^= change
    file.write_bytes(damaged[: int(cut * len(damaged))])
    snapshot(folder, folder / "out")
    whole = {f"s{n}" for n in range(5)}
    assert whole <= set(read(folder / "out")["request_id"])
