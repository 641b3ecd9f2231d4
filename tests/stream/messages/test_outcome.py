"""Outcomes: each field is typed and bounded."""

import re

import pytest

from stream.messages import Outcome, RecordError


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
