"""A table of the store: what a commit holds, and who may write."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.store.event_table
from tests.trainer.store.rows import START, example
from trainer.store.event_table import AnotherWriterError, EventTable
from trainer.store.example_store import example_rows
from trainer.store.locations import StoreError
from trainer.store.schemas import EXAMPLE_COLUMNS, OUTCOME_COLUMNS, example_frame, hour_of

HOUR = 3_600_000


@contextmanager
def small_disk(kilobytes: int) -> Iterator[None]:
    """No file of this process can grow beyond that size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def table_at(folder: Path | str) -> EventTable:
    return EventTable(str(folder), "examples", EXAMPLE_COLUMNS)


def frame(*numbers: int, hour: int = 0) -> pl.DataFrame:
    return example_frame(
        example_rows([example(f"r{number}", START + hour * HOUR + number) for number in numbers])
    )


def stored(table: EventTable) -> list[str]:
    """The ids of all rows."""
    return sorted(
        rid for file in table.files for rid in pl.read_parquet(file.url)["request_id"].to_list()
    )


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_offsets_and_watermark_are_there_again(tmp_path: Path, scheme: str) -> None:
    """Also offsets of refused records, after a checkpoint, and whatever commits follow."""
    table = table_at(f"{scheme}{tmp_path}")
    table.append(frame(1, 2), "t", {0: 2}, START)
    table.append(frame(3, hour=1), "t", {0: 3, 5: 9}, None)
    table.append(frame(), "t", {5: 11}, START + 7)
    table.delta.create_checkpoint()
    table.delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    again = table_at(f"{scheme}{tmp_path}")
    assert [again.offset("t", number) for number in (0, 5, 1)] == [3, 11, 0]
    assert again.offset("other", 0) == 0
    assert again.watermark == START + 7
    assert again.rows == 3
    assert [file.hour for file in again.files] == [hour_of(START), hour_of(START + HOUR)]
    assert [(file.first_ms, file.last_ms) for file in again.files] == [
        (START + 1, START + 2),
        (START + HOUR + 3, START + HOUR + 3),
    ]
    assert stored(again) == ["r1", "r2", "r3"]


def test_partitions_are_readable(tmp_path: Path) -> None:
    table = table_at(tmp_path)
    table.append(frame(1), "t", {0: 1}, None)
    assert Path(table.files[0].url).parent.name == "hour=2026-09-21T14"
    assert DeltaTable(table.url).metadata().partition_columns == ["hour"]


def test_the_second_of_two_writers_fails(tmp_path: Path) -> None:
    """Also with other partitions, and when it looks at the table before it writes."""
    first, second = table_at(tmp_path), table_at(tmp_path)
    assert second.offset("t", 1) == 0
    first.append(frame(1), "t", {0: 1}, START)
    with pytest.raises(AnotherWriterError, match="another trainer has appended"):
        second.append(frame(2), "t", {1: 1}, START + 1)
    first.append(frame(3), "t", {0: 2}, START + 2)
    assert stored(table_at(tmp_path)) == ["r1", "r3"]
    known = table_at(tmp_path)
    assert known.offset("t", 0) == 2
    first.append(frame(4), "t", {0: 3}, START + 2)
    with pytest.raises(AnotherWriterError):
        known.refresh()
    known.reopen()
    known.append(frame(5), "t", {0: 4}, START + 3)


def test_compaction_does_not_stop_a_writer(tmp_path: Path) -> None:
    table = table_at(tmp_path)
    for number in range(4):
        table.append(frame(number), "t", {0: number + 1}, START)
    table_at(tmp_path).delta.optimize.compact()
    table.append(frame(4), "t", {0: 5}, START)
    assert len(table.files) == 2
    assert stored(table) == ["r0", "r1", "r2", "r3", "r4"]


def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    table = table_at(tmp_path)
    table.append(frame(1), "t", {0: 1}, START)
    with small_disk(1), pytest.raises(OSError, match="examples"):
        table.append(frame(*range(2, 2_000)), "t", {0: 1_999}, START)
    table.append(frame(*range(2, 2_000)), "t", {0: 1_999}, START)
    assert len(stored(table_at(tmp_path))) == 1_999


def test_a_commit_whose_answer_was_lost_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_at(tmp_path)
    table.append(frame(1), "t", {0: 1}, START)
    write = trainer.store.event_table.write_deltalake

    def lose(*args: object, **options: object) -> None:
        write(DeltaTable(table.url), *args[1:], **options)  # type: ignore[arg-type]
        raise OSError("the connection was lost")

    def break_down(*args: object, **options: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(trainer.store.event_table, "write_deltalake", lose)
    table.append(frame(2), "t", {0: 2}, START)
    monkeypatch.setattr(trainer.store.event_table, "write_deltalake", break_down)
    with pytest.raises(OSError, match="no connection"):
        table.append(frame(3), "t", {0: 3}, START)
    monkeypatch.setattr(trainer.store.event_table, "write_deltalake", write)
    table.append(frame(3), "t", {0: 3}, START)
    assert stored(table_at(tmp_path)) == ["r1", "r2", "r3"]


def test_other_columns_and_unreadable_tables_are_named(tmp_path: Path) -> None:
    EventTable(str(tmp_path), "examples", OUTCOME_COLUMNS)
    with pytest.raises(StoreError, match=r"examples: spec is missing, .*string.* is needed"):
        table_at(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"trainer\.store: .*/file/examples: cannot be opened"):
        table_at(tmp_path / "file")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["write", "crash", "fence"]), min_size=1, max_size=8))
def test_whatever_happens_each_record_is_stored_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """A writer appends, ends before it does, or is replaced while it believes that it goes on."""
    folder = tmp_path_factory.mktemp("table")
    table = table_at(folder)
    for step in steps:
        start = table.offset("t", 0)
        rows = frame(*range(start, start + 3))
        if step == "fence":
            table_at(folder).append(rows, "t", {0: start + 3}, START + start + 1)
            with pytest.raises(AnotherWriterError):
                table.append(frame(start), "t", {0: start + 1}, START)
        elif step == "write":
            table.append(rows, "t", {0: start + 3}, START + start + 1)
        table = table_at(folder) if step != "write" else table
    end = table_at(folder).offset("t", 0)
    assert stored(table_at(folder)) == sorted(f"r{number}" for number in range(end))
