"""Which examples and outcomes are accepted."""

import itertools
from pathlib import Path

import pytest

from models.bounds import MAX_SKEW_MS
from stream.messages import Outcome, RecordError, TrainingExample
from tests.stream.feedback.hostile import DECISION, Hostile
from tests.trainer.store.rows import SPEC, TASKS, store_at
from trainer.pipeline.validation import DAY_MS, read_example, read_outcome
from trainer.store.example_store import batch_of, example_rows, outcome_rows

NOW = 1_790_000_000_000
GOOD = TrainingExample("r", NOW, SPEC.hash, [11], DECISION, 2.0)
HIT = Outcome("r", "click", NOW)
TS = b'"ts":%d' % NOW


def test_a_valid_record_is_read_as_it_was_written() -> None:
    assert read_example(GOOD.to_bytes(), SPEC, NOW, 1.0) == GOOD
    assert read_outcome(HIT.to_bytes(), TASKS, NOW, 1.0) == HIT


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b'"e":0.5', b'"e":"x"', "e"),
        (TS, b'"ts":9223372036854775808', "ts"),
        (TS, b'"ts":1e308', "ts"),
        (TS, b'"ts":5', "1970-01-01T00:00:00.* is older than trainer.retention_days"),
        (TS, b'"ts":253402300799999', "9999-12-31.* ahead of the clock"),
        (b'"features":[11]', b'"features":[12]', "features"),
        (b'"features":[11]', b'"features":[1,2]', "features"),
        (b'"features":[11]', b'"features":[]', "features"),
        (b'"features":[11]', b'"features":[-1]', "features"),
        (b'"features":[11]', b'"features":[4294967296]', "features"),
        (b'"features":[11]', b'"features":["1"]', "features"),
        (b'"request_id":"r"', b'"request_id":""', "request_id"),
        (b'"request_id":"r"', b'"request_id":"' + b"x" * 2000 + b'"', "request_id"),
        (b'"weight":2.0', b'"weight":0.1', "weight"),
        (b'"weight":2.0', b'"weight":1e300', "weight"),
        (b'"propensity":1.0', b'"propensity":-1.0', "propensity"),
    ],
)
def test_an_example_that_cannot_be_learned_is_refused(old: bytes, new: bytes, named: str) -> None:
    """Types, ranges, the spec's columns and rows, and times outside of the store's."""
    raw = GOOD.to_bytes()
    assert old in raw
    with pytest.raises(RecordError, match=named):
        read_example(raw.replace(old, new), SPEC, NOW, 30.0)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b'"click"', b'"bid"', "'bid' is not a task; the settings name click, deal"),
        (b'"r"', b'""', "outcome.request_id: empty"),
        (TS, b'"ts":-1', "ts"),
        (TS, b'"ts":5', "outcome.ts: .* is older"),
        (TS, b'"ts":253402300799999', "outcome.ts: .* ahead of the clock"),
    ],
)
def test_an_outcome_that_belongs_to_no_example_is_refused(
    old: bytes, new: bytes, named: str
) -> None:
    raw = HIT.to_bytes()
    assert old in raw
    with pytest.raises(RecordError, match=named):
        read_outcome(raw.replace(old, new), TASKS, NOW, 30.0)


def test_times_are_accepted_up_to_the_bounds() -> None:
    for ts in (NOW + MAX_SKEW_MS, NOW - 2 * DAY_MS):
        assert read_outcome(Outcome("r", "deal", ts).to_bytes(), TASKS, NOW, 2.0).ts == ts
    for ts in (NOW + MAX_SKEW_MS + 1, NOW - 2 * DAY_MS - 1):
        with pytest.raises(RecordError):
            read_outcome(Outcome("r", "deal", ts).to_bytes(), TASKS, NOW, 2.0)


def test_everything_that_is_accepted_can_be_stored(tmp_path: Path) -> None:
    """Of 20,000 nearly valid records of each topic, the store takes all that pass validation."""
    examples, outcomes = [], []
    for record in itertools.islice(Hostile(3, NOW).examples(), 20_000):
        try:
            examples.append(read_example(record.value, SPEC, NOW, 3_660.0))
        except RecordError:
            continue
    for record in itertools.islice(Hostile(4, NOW).outcomes(), 20_000):
        try:
            outcomes.append(read_outcome(record.value, TASKS, NOW, 3_660.0))
        except RecordError:
            continue
    assert examples
    assert outcomes
    store = store_at(tmp_path)
    store.append(batch_of(example_rows(examples), outcome_rows(outcomes), {0: 1}, {0: 1}), NOW)
    assert store.rows == len(examples)
    assert store.outcomes.rows == len(outcomes)
