"""Which training examples are accepted."""

import itertools

import pytest
from prometheus_client import CollectorRegistry
from tests.trainer.pipeline.test_snapshot import SPEC, TASKS
from trainer.pipeline.example_store import ExampleStore

from models.tasks import Task, TaskSet
from stream.messages import RecordError, TrainingExample
from stream.messages.refusals import Refusals
from tests.stream.feedback.hostile import DECISION, Hostile
from trainer.pipeline.validation import is_mature, read_example

GOOD = TrainingExample("r", 5, SPEC.hash, [11], {"click": 1, "deal": None}, DECISION, 2.0)


def test_a_valid_example_is_read_as_it_was_written() -> None:
    """It is mature with labels for all tasks of the settings, whichever it names itself."""
    read = read_example(GOOD.to_bytes(), TASKS, SPEC)
    assert read == GOOD
    assert not is_mature(read, TASKS)
    click = TaskSet([Task(name="click", window_s=1)])
    assert is_mature(TrainingExample("r", 5, "s", [1], {"click": 0}, DECISION), click)
    assert not is_mature(TrainingExample("r", 5, "s", [1], {"click": 0}, DECISION), TASKS)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b'"e":0.5', b'"e":"x"', "e"),
        (b'"ts":5', b'"ts":9223372036854775808', "ts"),
        (b'"ts":5', b'"ts":1e308', "ts"),
        (b'"features":[11]', b'"features":[12]', "features"),
        (b'"features":[11]', b'"features":[1,2]', "features"),
        (b'"features":[11]', b'"features":[]', "features"),
        (b'"features":[11]', b'"features":[-1]', "features"),
        (b'"features":[11]', b'"features":[4294967296]', "features"),
        (b'"features":[11]', b'"features":["1"]', "features"),
        (b'"click":1', b'"click":2', "labels"),
        (b'"click":1', b'"click":true', "labels"),
        (b'"click":1', b'"bid":1', "bid"),
        (b'"request_id":"r"', b'"request_id":""', "request_id"),
        (b'"request_id":"r"', b'"request_id":"' + b"x" * 2000 + b'"', "request_id"),
        (b'"weight":2.0', b'"weight":0.1', "weight"),
        (b'"weight":2.0', b'"weight":1e300', "weight"),
        (b'"propensity":1.0', b'"propensity":-1.0', "propensity"),
    ],
)
def test_an_example_that_cannot_be_learned_is_refused(old: bytes, new: bytes, named: str) -> None:
    """Types, ranges, the spec's columns and rows, and tasks that are not configured."""
    raw = GOOD.to_bytes()
    assert old in raw
    with pytest.raises(RecordError, match=named):
        read_example(raw.replace(old, new), TASKS, SPEC)


def test_every_accepted_example_can_be_stored(tmp_path: object) -> None:
    """Of 20,000 nearly valid records, the store takes all that pass validation."""
    store = ExampleStore(str(tmp_path), TASKS)
    refusals = Refusals(CollectorRegistry())
    accepted: list[TrainingExample] = []
    for offset, record in enumerate(itertools.islice(Hostile(3).examples(), 20_000)):
        try:
            accepted.append(read_example(record.value, TASKS, SPEC))
        except RecordError as error:
            refusals.refuse("examples", 0, offset, error)
    assert accepted
    store.append(accepted, {0: 20_000})
    assert store.rows == len(accepted)
