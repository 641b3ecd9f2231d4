"""Maintenance of the tables."""

import os
from pathlib import Path

import pytest
from deltalake import DeltaTable

from stream.messages import Outcome
from tests.trainer.store.rows import START, append, brute_force, contents, example, store_at
from tests.trainer.store.test_snapshot import snapshot
from trainer.store.maintenance import (
    MERGED_FILES,
    SETTLED_MS,
    MaintenanceError,
    compact,
    drop_expired,
    vacuum,
)

HOUR = 3_600_000


def test_ended_hours_are_merged_and_the_others_are_left(tmp_path: Path) -> None:
    """The contents stay, the writer goes on, and hours with few files are not written again."""
    store = store_at(tmp_path)
    made = [
        example(f"r{hour}-{n}", START + hour * HOUR + n)
        for n in range(MERGED_FILES)
        for hour in range(2)
    ]
    hits = [Outcome(one.request_id, "click", one.ts + 9) for one in made]
    for one, hit in zip(made, hits, strict=True):
        append(store, [one], [hit], START)
    before = store_at(tmp_path)
    assert compact(before.examples, START + HOUR + SETTLED_MS - 1, 9) == 0
    assert compact(before.examples, START + HOUR + SETTLED_MS, 9) == 1
    assert compact(before.outcomes, START + 9 * HOUR, 9) == 2
    assert len(before.examples.files) == 1 + MERGED_FILES
    assert compact(before.examples, START + 9 * HOUR, 9) == 1
    assert compact(before.examples, START + 9 * HOUR, 9) == 0
    append(store, [example("late", START)], [], START)
    assert len(store.examples.files) == 3
    snapshot(tmp_path, tmp_path / "out")
    deliveries = [(one, 0, number) for number, one in enumerate([*made, example("late", START)])]
    assert contents(tmp_path / "out") == brute_force(deliveries, hits, START)


def test_a_round_compacts_so_many_hours_the_newest_first(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for n in range(MERGED_FILES):
        append(store, [example(f"r{hour}-{n}", START + hour * HOUR) for hour in range(4)])
    table = store_at(tmp_path).examples
    assert compact(table, START + 9 * HOUR, 2) == 2
    counts = [len([f for f in table.files if f.first_ms == START + h * HOUR]) for h in range(4)]
    assert counts == [MERGED_FILES, MERGED_FILES, 1, 1]


def test_a_damaged_file_stops_the_compaction_of_its_hour_only(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for n in range(MERGED_FILES):
        append(store, [example(f"r{hour}-{n}", START + hour * HOUR) for hour in range(2)])
    damaged = Path(store.examples.files[-1].url)
    damaged.write_bytes(b"no Parquet at all")
    table = store_at(tmp_path).examples
    with pytest.raises(MaintenanceError, match=r"examples: compaction of 2026-09-21T15"):
        compact(table, START + 9 * HOUR, 9)
    assert len(table.files) == 1 + MERGED_FILES


def test_hours_before_the_retention_are_dropped(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for hour in range(4):
        append(store, [example(f"r{hour}", START + hour * HOUR)], [], START)
    table = store_at(tmp_path).examples
    day = START + 24 * HOUR
    assert drop_expired(table, day, 1.0) == 0
    assert drop_expired(table, day + 2 * HOUR + HOUR // 2, 1.0) == 2
    append(store, [example("r9", START + 9 * HOUR)], [], START)
    snapshot(tmp_path, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"r2", "r3", "r9"}
    assert store_at(tmp_path).offset("examples-topic", 0) == 5


def test_a_vacuum_leaves_what_readers_may_still_need(tmp_path: Path) -> None:
    """Replaced files are removed a day later, and rows of the newest version never."""
    store = store_at(tmp_path)
    for n in range(MERGED_FILES):
        append(store, [example(f"r{n}", START)], [], START)
    table = store_at(tmp_path).examples
    old = [Path(file.url) for file in table.files]
    compact(table, START + 9 * HOUR, 9)
    assert vacuum(table) == 0
    assert all(path.exists() for path in old)
    with_old = DeltaTable(table.url)
    assert len(with_old.vacuum(0, dry_run=True, enforce_retention_duration=False)) == len(old)
    stray = Path(table.files[0].url).parent / "part-0-unfinished.parquet"
    stray.write_bytes(b"of a writer that was killed")
    os.utime(stray, (1_000_000, 1_000_000))
    assert vacuum(table) == 1
    assert not stray.exists()
    snapshot(tmp_path, tmp_path / "out")
    assert len(contents(tmp_path / "out")) == MERGED_FILES
