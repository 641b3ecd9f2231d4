"""Which states follow each other, and which error leads to which."""

import pytest
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

from stream.transport.lanes.state import TRANSITIONS, ExpelledError, LaneState, state_after


@pytest.mark.parametrize("state", list(LaneState))
def test_every_state_but_the_last_is_left_by_a_release(state: LaneState) -> None:
    """A revocation ends a lane in any state."""
    after = TRANSITIONS[state]
    assert (LaneState.RELEASED in after) == (state is not LaneState.RELEASED)
    assert state not in after


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ProducerFenced(), LaneState.UNCLAIMED),
        (InvalidProducerEpoch(), LaneState.UNCLAIMED),
        (ExpelledError("weir-1"), LaneState.EXPELLED),
        (OutOfOrderSequenceNumber(), LaneState.UNCLAIMED),
        (KafkaConnectionError(), LaneState.UNCLAIMED),
        (NotLeaderForPartitionError(), LaneState.UNCLAIMED),
        (TopicAuthorizationFailedError(), LaneState.FAILED),
        (KafkaError("unknown"), LaneState.FAILED),
    ],
)
def test_an_error_is_classified_also_as_the_cause_of_a_plain_one(
    error: KafkaError, state: LaneState
) -> None:
    """Aiokafka wraps some errors in plain KafkaErrors, even twice."""
    assert state_after(error) is state
    inner = KafkaError("lookup")
    inner.__cause__ = error
    outer = KafkaError("delivery")
    outer.__cause__ = inner
    assert state_after(outer) is state
