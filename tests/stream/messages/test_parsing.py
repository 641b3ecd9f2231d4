import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from models.artifact.manifest import VERSION_PATTERN
from stream.messages import (
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
    labels=st.dictionaries(texts, st.none() | st.integers(0, 1), max_size=5),
    decision=decisions,
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
        (b"[]", "outcome: Expected `object`, got `array`"),
        (b'{"task":"deal","ts":1}', "outcome: Object missing required field `request_id`"),
        (b'{"request_id":"a","task":"deal","ts":"1"}', "outcome.ts: Expected `int`, got `str`"),
        (b'{"request_id":"a","task":"deal","ts":true}', "outcome.ts: Expected `int`, got `bool`"),
        (b'{"request_id":"a","task":"deal","ts":-1}', "outcome.ts: Expected `int` >= 0"),
        (
            b'{"request_id":"a","task":"deal","ts":1764489600000000}',
            "outcome.ts: Expected `int` <= 253402300799999",
        ),
        (
            b'{"request_id":"%b","task":"deal","ts":1}' % (b"a" * 1025),
            "outcome.request_id: Expected `str` of length <= 1024",
        ),
        (b'{"request_id":"%b' % (b"a" * 1_010_000), "outcome: 1010015 bytes; at most 16384"),
        (b'{"x":%b' % (b"[" * 5000), "outcome: nested too deeply"),
        (b'{"x":%b%b}' % (b"[" * 5000, b"]" * 5000), "outcome: nested too deeply"),
    ],
)
def test_a_bad_outcome_names_its_field(raw: bytes | None, message: str) -> None:
    """The error says which field is wrong and how."""
    with pytest.raises(RecordError, match=re.escape(message)):
        Outcome.from_bytes(raw)


def test_an_example_is_mature_when_no_label_is_masked() -> None:
    """One open window keeps an example immature."""
    decision = Decision("m", 0.1, 0.2, Reason.SCORE, 1.0, 7)
    open_window = TrainingExample("a", 1, "s", [1], {"click": 1, "deal": None}, decision)
    closed = TrainingExample("a", 1, "s", [1], {"click": 1, "deal": 0}, decision)
    assert (open_window.mature, closed.mature) == (False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e": "x"}, "e: Expected `float | null`, got `str`"),
        ({"propensity": 0}, "propensity: Expected `float` > 0.0"),
        ({"propensity": 1.5}, "propensity: Expected `float` <= 1.0"),
        ({"reason": "because"}, "reason: Expected `str` matching regex"),
        ({"offset": -1}, "offset: Expected `int` >= 0"),
        ({"model": "m" * 129}, "model: Expected `str` of length <= 128"),
        ({"model": "m" * 2000}, "bytes; at most 1024 are read"),
    ],
)
def test_a_decision_is_typed_and_bounded(change: dict[str, object], message: str) -> None:
    """A header of the right form with one wrong value is refused for that field."""
    decision = {"model": "m", "e": 1, "threshold": None, "reason": "score", "propensity": 1}
    with pytest.raises(RecordError, match=re.escape(message)):
        Decision.from_bytes(orjson.dumps({**decision, "offset": 1, **change}))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": [2**31]}, "features[0]"),
        ({"features": [-1]}, "features[0]"),
        ({"features": [1.5]}, "features[0]"),
        ({"labels": {"click": 2}}, "labels[...]"),
        ({"ts": 2**62}, "ts"),
        ({"decision": {"e": "x"}}, "decision"),
    ],
)
def test_an_example_is_typed_and_bounded(change: dict[str, object], field: str) -> None:
    """An example with one wrong value is refused for that field."""
    decision = Decision("m", 0.1, 0.2, Reason.SCORE, 1.0, 7)
    sound = TrainingExample("a", 1, "s", [1], {"click": 1}, decision)
    with pytest.raises(RecordError, match=re.escape(f"training example.{field}")):
        TrainingExample.from_bytes(orjson.dumps({**orjson.loads(sound.to_bytes()), **change}))
