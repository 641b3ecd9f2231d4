"""Checksums of the example store's parts."""

import random
from pathlib import Path

import pytest

from tests.trainer.pipeline.test_example_store import TASKS, example
from tests.trainer.pipeline.test_snapshot import ALL, SPEC
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.part_checksum import DamagedPartError, verify_checksum
from trainer.pipeline.snapshot import write_snapshot


def test_any_damage_is_found_before_polars_reads_a_byte(tmp_path: Path) -> None:
    """Single bytes changed anywhere, and cut files: polars would panic or abort on some of them."""
    rng = random.Random(1)
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(number) for number in range(200)], {0: 200})
    part = store.parts[0]
    whole = part.read_bytes()
    verify_checksum(part)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        part.write_bytes(damaged[: rng.choice([len(whole), rng.randrange(len(whole))])])
        with pytest.raises(DamagedPartError, match=r"part-0000000000\.parquet: damaged"):
            verify_checksum(part)
    found = write_snapshot(store.parts, tmp_path / "snapshot", SPEC, TASKS, ALL)
    assert list(found.unreadable) == [part]
    again = ExampleStore(tmp_path, TASKS)
    assert (again.rows, again.offsets, len(again.quarantined)) == (0, {}, 1)


def test_a_part_without_a_checksum_is_read(tmp_path: Path) -> None:
    """A crash after a part was linked and before its checksum was written is no damage."""
    store = ExampleStore(tmp_path, TASKS)
    store.append([example(1)], {0: 1})
    for content in (None, ""):
        checksum = store.parts[0].with_suffix(".xxh3")
        checksum.unlink() if content is None else checksum.write_text(content)
        assert ExampleStore(tmp_path, TASKS).rows == 1
