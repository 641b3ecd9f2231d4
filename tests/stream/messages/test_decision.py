"""Decisions: each field is typed and bounded, and the fast encoder writes the same."""

import re

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import DECISION_HEADER, Decision, Reason, RecordError
from stream.messages.decision import encode_decisions, encode_fail_open

floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


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


@given(
    st.text(max_size=128),
    st.lists(
        st.tuples(
            st.just(float("nan")) | floats32,
            floats32,
            st.sampled_from(Reason),
            st.floats(2**-20, 1, width=32),
            st.integers(0, 2**63 - 1),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_encoded_decisions_read_as_they_were_made(
    model: str, rows: list[tuple[float, float, Reason, float, int]]
) -> None:
    """The fast encoder of a chunk writes what `Decision.from_bytes` reads, to float32."""
    for header, (reward, threshold, reason, propensity, offset) in zip(
        encode_decisions(model, *zip(*rows, strict=True)), rows, strict=True
    ):
        found = Decision.from_bytes(header)
        assert (found.model, found.reason, found.offset) == (model, reason, offset)
        assert found.threshold is not None
        assert np.float32(found.threshold) == np.float32(threshold)
        assert np.float32(found.propensity) == np.float32(propensity)
        if np.isnan(reward):
            assert found.e is None
        else:
            assert np.float32(found.e) == np.float32(reward)


def test_fail_open_is_a_decision_without_a_model() -> None:
    """Nothing was scored: no reward and no threshold, and the request passes for certain."""
    found = [Decision.from_bytes(header) for header in encode_fail_open([0, 7])]
    wanted = Decision("", None, None, Reason.FAIL_OPEN, 1.0, 0)
    assert found == [wanted, Decision("", None, None, Reason.FAIL_OPEN, 1.0, 7)]
    assert encode_fail_open([0]) == [wanted.to_bytes()]


def test_the_header_and_its_fields_are_what_is_documented() -> None:
    """Consumers downstream read these names; changing one is a change of the contract."""
    decision = Decision("m1", 0.5, None, Reason.FAIL_OPEN, 1.0, 7)
    name, value = decision.to_header()
    assert name == DECISION_HEADER == "weir"
    assert orjson.loads(value) == {
        "model": "m1",
        "e": 0.5,
        "threshold": None,
        "reason": "fail-open",
        "propensity": 1.0,
        "offset": 7,
    }


def test_the_last_header_counts() -> None:
    """The worker appends its header; one before it is not the worker's."""
    decision = Decision("m1", 0.5, 0.4, Reason.SCORE, 1.0, 7)
    forged = Decision("m2", 0.9, 0.1, Reason.EXPLORE, 0.1, 8)
    headers = [forged.to_header(), ("x", None), decision.to_header(), ("y", b"")]
    assert Decision.from_headers(headers) == decision
    with pytest.raises(RecordError, match="the header 'weir' is missing"):
        Decision.from_headers([("x", b"")])
