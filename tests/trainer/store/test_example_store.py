"""The store of both topics: what a writer that ends at any moment leaves behind."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.messages import Outcome, TrainingExample
from tests.trainer.store.rows import (
    EXAMPLES,
    OUTCOMES,
    SPEC,
    START,
    WINDOWS,
    append,
    brute_force,
    contents,
    example,
    store_at,
)
from trainer.store.event_table import EventTable
from trainer.store.example_store import ExampleStore, batch_of, example_rows, outcome_rows
from trainer.store.snapshot import write_snapshot

HOUR = 3_600_000


class KilledError(BaseException):
    """The end of a writer in a test."""


def test_offsets_and_watermark_are_kept_by_topic(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    append(store, [example("a", START)], [Outcome("a", "click", START + 1)] * 2, START + 5)
    again = store_at(tmp_path)
    assert (again.offset(EXAMPLES, 0), again.offset(OUTCOMES, 0)) == (1, 2)
    assert again.watermark == START + 5
    assert (again.rows, again.outcomes.rows) == (1, 2)


def test_the_watermark_of_an_idle_trainer_is_stored(tmp_path: Path) -> None:
    """Without rows; a flush of outcomes alone stores it, too."""
    store = store_at(tmp_path)
    store.append(batch_of([], [], {}, {}), START + 7)
    assert store_at(tmp_path).watermark == START + 7
    hits = outcome_rows([Outcome("a", "click", START)])
    store.append(batch_of([], hits, {}, {0: 1}), START + 9)
    assert store_at(tmp_path).watermark == START + 9


def test_a_watermark_never_claims_outcomes_that_are_not_stored(tmp_path: Path) -> None:
    """A writer that ends between the commits has stored the outcomes, and not the examples."""
    store = store_at(tmp_path)
    made, hits = [example("a", START)], [Outcome("a", "click", START + 1)]
    with pytest.MonkeyPatch.context() as patch:
        _die(patch, "between")
        with pytest.raises(KilledError):
            append(store, made, hits, START + HOUR)
    left = store_at(tmp_path)
    assert (left.rows, left.outcomes.rows) == (0, 1)
    assert left.examples.watermark is None


def test_rows_are_counted_by_event_time_from_the_metadata(tmp_path: Path) -> None:
    """Exact at the limits of files, spread evenly within them."""
    store = store_at(tmp_path)
    append(store, [example(f"r{n}", START + n) for n in range(100)], [], None)
    append(store, [example(f"s{n}", START + HOUR) for n in range(7)], [], None)
    assert store.rows_between(0, START) == 0
    assert store.rows_between(0, START + 100) == 100
    assert store.rows_between(START + 20, START + 60) == 40
    assert store.rows_between(START + 100, START + HOUR + 1) == 7
    assert store.rows_between(START + 60, START + 20) == 0


def test_requests_are_counted_by_the_weights_of_their_examples(tmp_path: Path) -> None:
    """Also where `feedback.keep_share` changed within a file: its weights are read, once."""
    store = store_at(tmp_path)
    append(store, [example(f"r{n}", START + n) for n in range(100)], [], None)
    assert store.requests_between(0, START + HOUR) == 200
    assert store.requests_between(START + 20, START + 60) == 80
    mixed = [
        msgspec.structs.replace(example(f"s{n}", START + HOUR + n), weight=1.0 + 9 * (n % 2))
        for n in range(40)
    ]
    append(store, mixed, [], None)
    assert store.requests_between(START + HOUR, START + 2 * HOUR) == 20 + 200
    (file,) = [file for file in store.examples.files if file.weights == (1.0, 10.0)]
    Path(file.url).unlink()
    assert store.requests_between(START + HOUR, START + 2 * HOUR) == 20 + 200
    assert store_at(tmp_path).requests_between(START + HOUR, START + 2 * HOUR) == 40


def consume(store: ExampleStore, topics: dict[str, list[Any]], count: int) -> bool:
    """Store the next records of both topics, as a trainer does; False if there are none."""
    first, second = store.offset(EXAMPLES, 0), store.offset(OUTCOMES, 0)
    made, hits = topics[EXAMPLES][first : first + count], topics[OUTCOMES][second : second + count]
    batch = batch_of(
        example_rows(made, 0, first),
        outcome_rows(hits, 0, second),
        {0: first + len(made)} if made else {},
        {0: second + len(hits)} if hits else {},
    )
    if not len(batch):
        return False
    store.append(batch, START + HOUR)
    return True


IDS = st.sampled_from(["a", "b", "c", "d"])
TIMES = st.integers(0, 2 * HOUR) | st.integers(0, 70_000)
REQUESTS = st.builds(
    lambda rid, at, site: example(rid, START + at, site), IDS, TIMES, st.integers(0, 11)
)
HITS = st.builds(
    lambda rid, task, at: Outcome(rid, task, START + at),
    *(IDS, st.sampled_from(["click", "deal"]), TIMES),
)


@settings(max_examples=30, deadline=None)
@given(
    requests=st.lists(REQUESTS, max_size=16),
    hits=st.lists(HITS, max_size=16),
    steps=st.lists(
        st.tuples(st.sampled_from(["", "before", "between", "after"]), st.integers(1, 5)),
        min_size=1,
        max_size=6,
    ),
)
def test_a_writer_may_be_killed_between_any_two_steps(
    tmp_path_factory: pytest.TempPathFactory,
    requests: list[TrainingExample],
    hits: list[Outcome],
    steps: list[tuple[str, int]],
) -> None:
    """Before, between and after the commits of the two tables: the snapshot is the same."""
    folder = tmp_path_factory.mktemp("store")
    topics: dict[str, list[Any]] = {EXAMPLES: requests, OUTCOMES: hits}
    store = store_at(folder)
    for death, count in steps:
        with pytest.MonkeyPatch.context() as patch:
            _die(patch, death)
            try:
                consume(store, topics, count)
            except KilledError:
                store = store_at(folder)
    while consume(store, topics, 7):
        pass
    done = write_snapshot(str(folder), folder / "out", SPEC, WINDOWS, 10**9)
    deliveries = [(one, 0, number) for number, one in enumerate(requests)]
    assert contents(folder / "out") == brute_force(deliveries, hits, done.watermark)
    assert store_at(folder).rows == len(requests)
    assert store_at(folder).outcomes.rows == len(hits)


def _die(patch: pytest.MonkeyPatch, death: str) -> None:
    """Let the next append of a store end before, between or after its two commits."""
    append_to_table, append_to_store = EventTable.append, ExampleStore.append

    def table(self: EventTable, *args: Any) -> None:
        if death == "before" or (death == "between" and self.url.endswith("examples")):
            raise KilledError
        append_to_table(self, *args)

    def whole(self: ExampleStore, *args: Any) -> None:
        append_to_store(self, *args)
        if death == "after":
            raise KilledError

    patch.setattr(EventTable, "append", table)
    patch.setattr(ExampleStore, "append", whole)
