"""Every JSON message: both directions agree, and anything else is refused."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from models.artifact.manifest import VERSION_PATTERN
from stream.messages import (
    Cause,
    Decision,
    ModelAnnouncement,
    Outcome,
    Reason,
    RecordError,
    TrainingExample,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=bounds.MAX_TASK_NAME)
floats = st.floats(allow_nan=False, allow_infinity=False)
millis = st.integers(0, bounds.MAX_TIME_MS)
decisions = st.builds(
    Decision,
    model=texts,
    e=st.none() | floats,
    threshold=st.none() | floats,
    reason=st.sampled_from(Reason),
    propensity=st.floats(0, 1, exclude_min=True),
    offset=st.integers(0, 2**63 - 1),
)
outcomes = st.builds(Outcome, request_id=texts, task=texts, ts=millis)
examples = st.builds(
    TrainingExample,
    request_id=texts,
    ts=millis,
    spec=texts,
    features=st.lists(st.integers(0, 2**31 - 1), max_size=20),
    decision=decisions,
    weight=st.floats(1, 1 / bounds.MIN_KEEP_SHARE),
)
announcements = st.builds(
    ModelAnnouncement,
    version=st.from_regex(VERSION_PATTERN, fullmatch=True).filter(
        lambda name: len(name) <= bounds.MAX_VERSION
    ),
    url=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=bounds.MAX_URL),
    manifest_sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    ts=millis,
    metrics=st.dictionaries(texts, floats, max_size=3),
    by=texts,
    cause=st.sampled_from(Cause).map(str) | texts,
    reason=texts,
    previous=st.none() | st.just("v0"),
)


@given(st.one_of(decisions, outcomes, examples, announcements))
def test_records_survive_the_wire(
    record: Decision | Outcome | TrainingExample | ModelAnnouncement,
) -> None:
    """Every record is read back as it was written."""
    assert type(record).from_bytes(record.to_bytes()) == record


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | floats | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(
        st.sampled_from(["request_id", "task", "ts", "version", "url", "weight", "x"]), children
    ),
).map(orjson.dumps))  # fmt: skip
@pytest.mark.parametrize("kind", [Decision, Outcome, TrainingExample, ModelAnnouncement])
def test_anything_else_is_a_record_error(
    kind: type[Decision | Outcome | TrainingExample | ModelAnnouncement], raw: bytes
) -> None:
    """Arbitrary bytes and JSON are read as a record or refused with RecordError, never else."""
    try:
        record = kind.from_bytes(raw)
    except RecordError:
        return
    assert kind.from_bytes(record.to_bytes()) == record
