"""Thinning of requests without an event."""

from pathlib import Path

import pytest

from stream.messages import Outcome
from tests.trainer.store.rows import START, WINDOWS, append, example, read, store_at
from tests.trainer.store.test_snapshot import snapshot
from trainer.store.maintenance import MERGED_FILES, compact
from trainer.store.thinning import Thinned, thin

HOUR = 3_600_000
FINAL = START + HOUR + WINDOWS.hold_ms
"""Watermark at which the labels of the first hour are final."""


def thinned(folder: Path, share: float = 0.25, hours: int = 1) -> Thinned:
    store = store_at(folder)
    return thin(store.examples, store.outcomes, WINDOWS, share, folder, hours)


def weights(folder: Path, name: str) -> dict[str, float]:
    """Weight of every request in a snapshot."""
    snapshot(folder, folder / name)
    frame = read(folder / name)
    return dict(zip(frame["request_id"], frame["weight"], strict=True))


def filled(folder: Path, requests: int, watermark_ms: int = FINAL) -> set[str]:
    """A store with an hour of requests with weight 2, and the ids of those with an event."""
    made = [example(f"r{n}", START + n % HOUR) for n in range(requests)]
    hits = [Outcome(one.request_id, "deal", one.ts + WINDOWS.windows_ms[1]) for one in made[::10]]
    store = store_at(folder)
    append(store, made, hits, watermark_ms)
    return {hit.request_id for hit in hits}


def test_events_are_kept_and_the_rest_stays_unbiased(tmp_path: Path) -> None:
    """Of 20,000 requests: every event with its weight; of the others a share, with its inverse."""
    events = filled(tmp_path, 20_000)
    before = weights(tmp_path, "before")
    done = thinned(tmp_path)
    after = weights(tmp_path, "after")
    assert {rid for rid in after if after[rid] == 2.0} == events
    others = [weight for rid, weight in after.items() if rid not in events]
    assert set(others) == {8.0}
    deviation = (18_000 * 0.25 * 0.75) ** 0.5
    assert abs(len(others) - 4_500) < 4 * deviation
    assert abs(sum(after.values()) - sum(before.values())) < 4 * deviation * 8
    assert done == Thinned(1, 20_000, 20_000 - len(after))
    stood_for = store_at(tmp_path).requests_between(0, START + 10**9)
    assert stood_for == pytest.approx(sum(after.values()), abs=1)


def test_what_is_thinned_does_not_depend_on_when(tmp_path: Path) -> None:
    """A second run, compaction with late rows, a repeated delivery: the same requests stay."""
    filled(tmp_path, 400)
    thinned(tmp_path)
    first = weights(tmp_path, "first")
    assert thinned(tmp_path) == Thinned(0, 0, 0)
    store = store_at(tmp_path)
    again = [example(f"r{n}", START + n) for n in range(400)]
    for n in range(MERGED_FILES):
        append(store, again[n::MERGED_FILES], [], FINAL)
    compact(store_at(tmp_path).examples, FINAL, 9)
    assert len(store_at(tmp_path).examples.files) == 1
    done = thinned(tmp_path)
    assert done.rows == 400 + len(first)
    assert weights(tmp_path, "second") == first
    assert thinned(tmp_path) == Thinned(0, 0, 0)


def test_hours_wait_until_all_their_labels_are_final(tmp_path: Path) -> None:
    events = filled(tmp_path, 100, FINAL - 1)
    assert thinned(tmp_path).hours == 0
    append(store_at(tmp_path), [example("later", START + HOUR)], [], FINAL)
    assert thinned(tmp_path, hours=2).hours == 0
    done = thinned(tmp_path, 0.001)
    assert done.hours == 1
    assert events | {"later"} == set(weights(tmp_path, "after"))


def test_an_hour_of_which_nothing_is_kept_is_empty(tmp_path: Path) -> None:
    append(store_at(tmp_path), [example("a", START)], [], FINAL)
    assert thinned(tmp_path, 1e-9) == Thinned(1, 1, 1)
    assert weights(tmp_path, "after") == {}
    append(store_at(tmp_path), [example("b", START)], [], FINAL)
    assert weights(tmp_path, "then") == {"b": 2.0}


def test_the_writer_goes_on_while_an_hour_is_thinned(tmp_path: Path) -> None:
    """Rows that it appends to the same hour meanwhile are neither lost nor thinned."""
    filled(tmp_path, 50)
    behind = store_at(tmp_path)
    append(store_at(tmp_path), [example("late", START)], [], FINAL)
    done = thin(behind.examples, behind.outcomes, WINDOWS, 0.001, tmp_path, 1)
    assert done.rows == 50
    assert weights(tmp_path, "after")["late"] == 2.0
    append(store_at(tmp_path), [example("later", START)], [], FINAL)
    assert {"late", "later"} < set(weights(tmp_path, "then"))


def test_a_file_that_cannot_be_read_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, 50)
    damaged = Path(store_at(tmp_path).examples.files[0].url)
    damaged.write_bytes(b"no Parquet")
    assert thinned(tmp_path).rows == 0
    assert str(damaged) in caplog.text
    assert len(store_at(tmp_path).examples.files) == 1
