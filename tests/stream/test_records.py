import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.records import (
    Decision,
    ModelAnnouncement,
    Outcome,
    Reason,
    RecordError,
    TrainingExample,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
floats = st.floats(allow_nan=False, allow_infinity=False)
millis = st.integers(0, 2**53)
decisions = st.builds(
    Decision,
    model=texts,
    e=st.none() | floats,
    threshold=st.none() | floats,
    reason=st.sampled_from(Reason),
    propensity=floats,
    offset=millis,
)
outcomes = st.builds(Outcome, request_id=texts, task=texts, ts=millis)
examples = st.builds(
    TrainingExample,
    request_id=texts,
    ts=millis,
    spec=texts,
    features=st.lists(st.integers(0, 2**31 - 1), max_size=20),
    labels=st.dictionaries(texts, st.none() | st.integers(0, 1), max_size=5),
    decision=decisions,
)
announcements = st.builds(
    ModelAnnouncement,
    version=texts,
    url=texts,
    manifest_sha256=texts,
    ts=millis,
    metrics=st.dictionaries(texts, floats, max_size=3),
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
        st.sampled_from(["request_id", "task", "ts", "version", "url", "labels", "x"]), children
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


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "outcome: the value is empty"),
        (b"{", "outcome: not JSON"),
        (b"[]", "a JSON object is expected, not list"),
        (b'{"task":"deal","ts":1}', "outcome.request_id: str expected, NoneType found"),
        (b'{"request_id":"a","task":"deal","ts":"1"}', "outcome.ts: int expected, str found"),
        (b'{"request_id":"a","task":"deal","ts":true}', "outcome.ts: int expected, bool found"),
    ],
)
def test_a_bad_outcome_names_its_field(raw: bytes | None, message: str) -> None:
    """The error says which field is wrong and how."""
    with pytest.raises(RecordError, match=message.replace("[", r"\[")):
        Outcome.from_bytes(raw)


def test_an_example_is_mature_when_no_label_is_masked() -> None:
    """One open window keeps an example immature."""
    decision = Decision("m", 0.1, 0.2, Reason.SCORE, 1.0, 7)
    open_window = TrainingExample("a", 1, "s", [1], {"click": 1, "deal": None}, decision)
    closed = TrainingExample("a", 1, "s", [1], {"click": 1, "deal": 0}, decision)
    assert (open_window.mature, closed.mature) == (False, True)
