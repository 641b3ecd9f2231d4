"""What a rebuild learns from."""

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.examples import read_examples
from models.features import FeatureSpec
from models.tasks import Task, TaskSet
from stream.messages import Decision, Reason, TrainingExample
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.snapshot import Snapshot, write_snapshot

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 12
""",
    "test",
)
TASKS = TaskSet([Task(name="click", window_s=20), Task(name="deal", window_s=60)])
DECISION = Decision("m1", 0.5, None, Reason.EXPLORE, 0.25, 1)
ALL = 10**9


def example(
    number: int, ts: int, click: int | None, deal: int | None, features: list[int], spec: str
) -> TrainingExample:
    labels = {"click": click, "deal": deal}
    return TrainingExample(f"r{number}", ts, spec, features, labels, DECISION)


def random_batches(rng: random.Random) -> list[list[TrainingExample]]:
    label = [0, 1, 1, None]
    return [
        [
            example(
                rng.randrange(12),
                rng.randrange(50),
                rng.choice(label),
                rng.choice(label),
                rng.choice([[rng.randrange(12)], [3], [12], [-1], [1, 2], []]),
                rng.choice([SPEC.hash, SPEC.hash, SPEC.hash, "other"]),
            )
            for _ in range(rng.randrange(8))
        ]
        for _ in range(rng.randrange(1, 6))
    ]


def read(folder: Path) -> list[tuple[object, ...]]:
    columns = ("request_id", "ts", "features", "label_click", "label_deal")
    parts = [pl.read_parquet(part).select(columns) for part in sorted(folder.glob("*.parquet"))]
    return [tuple(row) for part in parts for row in part.rows()]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([ALL, 1, 3]), st.integers(1, 5))
def test_the_newest_known_example_of_every_request(
    tmp_path_factory: pytest.TempPathFactory, seed: int, most: int, file_rows: int
) -> None:
    """As a loop over all examples in memory finds it, whatever the parts and files."""
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("store")
    store = ExampleStore(path, TASKS)
    newest: dict[str, TrainingExample] = {}
    for batch in random_batches(rng):
        store.append(batch, {0: 1})
        newest |= {one.request_id: one for one in batch if one.spec == SPEC.hash}
    known = [one for one in newest.values() if None not in one.labels.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.pipeline.snapshot.FILE_ROWS", file_rows)
        found = write_snapshot(store.parts, path / "snapshot", SPEC, TASKS, most)
    assert found.too_many == max(0, len(known) - most)
    rows = read(path / "snapshot")
    assert found.rows == len(rows) == len({row[0] for row in rows})
    assert found.rows + found.unfit + found.too_many == len(known)
    wanted = {
        (one.request_id, one.ts, tuple(one.features), *one.labels.values())
        for one in known
        if len(one.features) == 1 and 0 <= one.features[0] < 12
    }
    taken = {(rid, ts, tuple(features), *labels) for rid, ts, features, *labels in rows}
    assert taken == wanted if most == ALL else taken <= wanted
    if most != ALL and not found.unfit and rows:
        oldest = sorted((one.ts for one in known), reverse=True)[: len(rows)]
        assert sorted((row[1] for row in rows), reverse=True) == oldest  # type: ignore[type-var]
    if rows:
        assert len(read_examples(path / "snapshot", SPEC, TASKS)) == len(rows)


def test_a_part_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    """Damage within the data shows only when they are read: in whichever pass."""
    store = ExampleStore(tmp_path, TASKS)
    for number in range(3):
        store.append([example(number, 5, 1, 0, [number], SPEC.hash)] * 50, {0: 1})
    damaged = bytearray(store.parts[1].read_bytes())
    damaged[8:300] = b"\xff" * 292
    store.parts[1].write_bytes(damaged)
    found = write_snapshot(store.parts, tmp_path / "snapshot", SPEC, TASKS, ALL)
    assert (found.rows, list(found.unreadable)) == (2, [store.parts[1]])
    assert {row[0] for row in read(tmp_path / "snapshot")} == {"r0", "r2"}


def test_an_empty_store_has_an_empty_snapshot(tmp_path: Path) -> None:
    """No part, and parts without a row."""
    store = ExampleStore(tmp_path, TASKS)
    nothing = Snapshot(0, 0, 0, {})
    assert write_snapshot(store.parts, tmp_path / "a", SPEC, TASKS, ALL) == nothing
    store.append([], {0: 1})
    assert write_snapshot(store.parts, tmp_path / "b", SPEC, TASKS, ALL) == nothing


def test_parts_from_before_the_weights_are_learned_with_the_others(tmp_path: Path) -> None:
    """A store whose older parts have no column `weight` goes on."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1, 5, 1, 0, [1], SPEC.hash)], {0: 1})
    store.parts[0].with_suffix(".xxh3").unlink()
    pl.read_parquet(store.parts[0]).drop("weight").write_parquet(
        store.parts[0], metadata={"weir.offsets": '{"0": 1}'}
    )
    again = ExampleStore(tmp_path, TASKS)
    again.append([example(2, 5, 1, 0, [1], SPEC.hash)], {0: 2})
    assert write_snapshot(again.parts, tmp_path / "s", SPEC, TASKS, ALL).rows == 2
