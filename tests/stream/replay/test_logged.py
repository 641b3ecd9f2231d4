"""The logged verdict is the one that was made, or none where the header cannot tell."""

import pytest

from stream.messages.decision import Decision, Reason
from stream.messages.headers import DECISION_HEADER
from stream.replay.logged import read_logged

LOW, HIGH = 0.25, 0.5


@pytest.mark.parametrize(
    ("e", "threshold", "reason", "propensity", "verdict"),
    [
        (HIGH, LOW, Reason.SCORE, 1.0, "pass"),
        (LOW, HIGH, Reason.SCORE, 1.0, "block"),
        (HIGH, HIGH, Reason.SCORE, 0.99, "block"),
        (HIGH, HIGH, Reason.SCORE, 1.0, None),
        (None, HIGH, Reason.SCORE, 1.0, None),
        (LOW, HIGH, Reason.EXPLORE, 0.01, "pass"),
        (LOW, HIGH, Reason.UNCERTAIN, 1.0, "pass"),
        (None, None, Reason.FAIL_OPEN, 1.0, "pass"),
    ],
)
def test_a_verdict_is_inferred_from_reason_reward_and_propensity(
    e: float | None, threshold: float | None, reason: Reason, propensity: float, verdict: str | None
) -> None:
    """What the topic says comes first; the header of a foreign record before it does not count."""
    header = Decision("v1", e, threshold, reason, propensity, 7).to_header()
    foreign = (DECISION_HEADER, b"{}")
    logged = read_logged([[foreign, header], [], [("other", None)]], None)
    assert logged.columns["logged_verdict"] == [verdict, None, None]
    assert logged.columns["logged_propensity"] == [propensity, None, None]
    assert logged.columns["logged_model"] == ["v1", None, None]
    assert (logged.offsets, logged.refused) == ([7, None, None], 0)
    assert read_logged([[header], []], "block").columns["logged_verdict"] == ["block", None]


def test_a_header_that_cannot_be_read_is_counted() -> None:
    """The request has no logged decision then."""
    logged = read_logged([[(DECISION_HEADER, b"{broken")]], "pass")
    assert logged.columns["logged_verdict"] == [None]
    assert logged.refused == 1
