"""Batches as runs of offsets, and the settings that a journal begins with."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import PolicySettings, Settings
from stream.journal.recorder import Recorder, runs_of, write_settings
from stream.messages.journal import BatchDecided, ModelLoaded, Started, read_entries
from stream.reproduce.player import NotReproducibleError, read_settings


@dataclass
class Fetched:
    partition: int
    offset: int


@dataclass
class Model:
    version: str
    manifest_sha256: str = "ab" * 32


records = st.lists(
    st.builds(Fetched, st.integers(0, 2), st.integers(0, 50)), min_size=1, max_size=40
)


@given(records)
def test_runs_are_the_records_in_their_order(batch: list[Fetched]) -> None:
    """With gaps, with partitions that alternate, and with offsets that come again."""
    left = list(batch)
    for run in runs_of(batch):
        mine, left = left[: run.count], left[run.count :]
        offsets = [record.offset for record in mine]
        assert {record.partition for record in mine} == {run.partition}
        assert offsets == sorted(set(offsets))
        assert (offsets[0], offsets[-1]) == (run.first, run.last)
    assert left == []


@given(records)
def test_runs_are_as_long_as_they_can_be(batch: list[Fetched]) -> None:
    """Two neighbours are of different partitions, or offsets fall between them."""
    runs = runs_of(batch)
    for one, other in pairwise(runs):
        assert one.partition != other.partition or other.first <= one.last


def test_a_model_is_named_once() -> None:
    """And again if its folder has other content."""
    recorder, batch = Recorder(), [Fetched(1, 7)]
    recorder.start("w", 5, Settings())
    for model in (None, Model("a"), Model("b"), Model("a"), Model("a", "cd" * 32)):
        recorder.batch(batch, 9, model)
    start, *entries = read_entries(recorder.take())
    assert isinstance(start, Started)
    assert [e.model for e in entries if isinstance(e, BatchDecided)] == [0, 1, 2, 1, 3]
    assert [e.version for e in entries if isinstance(e, ModelLoaded)] == ["a", "b", "a"]
    assert recorder.take() == b""


def test_settings_come_back_as_they_were() -> None:
    """Those that decisions depend on; brokers and registry are the reader's."""
    live = Settings(
        policy=PolicySettings(
            rate=0.1 + 0.2, explore=1 / 3, scenario_path="site.id",
            scenarios={"a": {"rate": 2 / 3, "consumption": {"most": 0.9}}},
            weights={"click": 1e-9}, capacity=7.7,
        ),
        worker={"max_value_bytes": 5000, "score_batch": 64},
    )  # fmt: skip
    mine = Settings().override({"kafka.group": "mine", "policy.rate": "0.9"})
    found = read_settings(mine, write_settings(live))
    assert found.policy == live.policy
    assert found.tasks == live.tasks
    assert (found.worker.max_value_bytes, found.worker.score_batch) == (5000, 64)
    assert found.kafka == mine.kafka


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b'{"policy":1,"tasks":2,"worker":3}', b"\xff", b"[" * 10_000,
     b'{"policy":{"rate":2},"tasks":[],"worker":{}}',
     b'{"policy":{"nonsense":2},"tasks":[{"name":"click","window_s":1}],"worker":{}}'],
)  # fmt: skip
def test_settings_that_are_none_are_refused(raw: bytes) -> None:
    """A journal of another release, or of a forger."""
    with pytest.raises(NotReproducibleError, match="settings in the journal"):
        read_settings(Settings(), raw)
