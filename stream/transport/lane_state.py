"""The states of a lane, the transitions between them, and the state that follows an error."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownError,
)

#: Errors of a transaction after which a new claim recovers, besides the retriable ones.
_RECOVERED_BY_CLAIM: Final = (
    ConcurrentTransactions,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    UnknownError,
)
_FENCED: Final = (ProducerFenced, InvalidProducerEpoch)


class LaneState(Enum):
    """State of a lane; see `TRANSITIONS`."""

    UNCLAIMED = "unclaimed"  # no producer epoch; the outcome of the last transaction is unknown
    CLAIMING = "claiming"  # InitProducerId is sent; afterwards the committed offset is certain
    READY = "ready"  # between two transactions
    OPEN = "open"  # a transaction takes outputs and the offset
    COMMITTING = "committing"  # EndTxn is sent; an error leaves the outcome unknown
    FENCED = "fenced"  # another producer has the id; the group decides who owns the partition
    RELEASED = "released"  # the partition was revoked: nothing more is written
    FAILED = "failed"  # a fatal error: the process stops


_S = LaneState
TRANSITIONS: Final[Mapping[LaneState, frozenset[LaneState]]] = {
    _S.UNCLAIMED: frozenset({_S.CLAIMING, _S.RELEASED}),
    _S.CLAIMING: frozenset({_S.READY, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.READY: frozenset({_S.OPEN, _S.RELEASED}),
    _S.OPEN: frozenset({_S.COMMITTING, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.COMMITTING: frozenset({_S.READY, _S.UNCLAIMED, _S.FENCED, _S.FAILED, _S.RELEASED}),
    _S.FENCED: frozenset({_S.CLAIMING, _S.RELEASED}),
    _S.RELEASED: frozenset(),
    _S.FAILED: frozenset({_S.RELEASED}),
}


class LaneError(RuntimeError):
    """An operation that the state of a lane forbids, or an offset that another program moved."""


class ReleasedError(Exception):
    """The partition was revoked before the chunk was committed; its next owner reads it again."""


def state_after(error: KafkaError) -> LaneState:
    """The state after an error or its causes: aiokafka wraps some in plain KafkaErrors."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _FENCED):
            return LaneState.FENCED
        if isinstance(found, _RECOVERED_BY_CLAIM) or getattr(found, "retriable", False):
            return LaneState.UNCLAIMED
        found = found.__cause__
    return LaneState.FAILED
