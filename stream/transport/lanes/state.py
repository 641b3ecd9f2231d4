"""The states of a lane, the transitions between them, and the state that follows an error."""

from collections.abc import Collection, Mapping
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

from stream.transport.chunk import RecordsRefusedError

#: The broker has ended the producer's transaction: it timed out, or was in a new owner's way.
ENDED: Final = (ProducerFenced, InvalidProducerEpoch)
#: Errors of a transaction after which a new claim recovers, besides the retriable ones.
_RECOVERED_BY_CLAIM: Final = (
    *ENDED,
    ConcurrentTransactions,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    UnknownError,
)


class LaneState(Enum):
    """State of a lane; see `TRANSITIONS`."""

    UNCLAIMED = "unclaimed"  # no producer epoch; the outcome of the last transaction is unknown
    CLAIMING = "claiming"  # InitProducerId is sent, then the committed offsets are read
    READY = "ready"  # between two transactions
    OPEN = "open"  # a transaction takes outputs and offsets
    COMMITTING = "committing"  # EndTxn is sent; an error leaves the outcome unknown
    EXPELLED = "expelled"  # the group has another generation: its partitions are others'
    RELEASED = "released"  # all partitions were revoked: nothing more is written
    FAILED = "failed"  # a fatal error: the process stops


_S = LaneState
TRANSITIONS: Final[Mapping[LaneState, frozenset[LaneState]]] = {
    _S.UNCLAIMED: frozenset({_S.CLAIMING, _S.RELEASED}),
    _S.CLAIMING: frozenset({_S.READY, _S.UNCLAIMED, _S.FAILED, _S.RELEASED}),
    _S.READY: frozenset({_S.OPEN, _S.UNCLAIMED, _S.RELEASED}),
    _S.OPEN: frozenset({_S.COMMITTING, _S.UNCLAIMED, _S.EXPELLED, _S.FAILED, _S.RELEASED}),
    _S.COMMITTING: frozenset({_S.READY, _S.UNCLAIMED, _S.FAILED, _S.RELEASED}),
    _S.EXPELLED: frozenset({_S.RELEASED}),
    _S.FAILED: frozenset({_S.RELEASED}),
    _S.RELEASED: frozenset(),
}


class LaneError(RuntimeError):
    """An operation that the state of a lane forbids, or an offset that another program moved."""


class ReleasedError(Exception):
    """The partition was revoked before the chunk was committed; its next owner reads it again."""


class ExpelledError(KafkaError):  # type: ignore[misc]
    """The group's coordinator refused offsets: the member is not of its present generation."""


class RefusedError(Exception):
    """A topic did not accept some of the records that were written for an input partition.

    Attributes:
        key: Topic and number of the input partition.
        refused: The records.
    """

    def __init__(self, key: tuple[str, int], refused: RecordsRefusedError) -> None:
        super().__init__(f"{key[0]}[{key[1]}]: {refused}")
        self.key = key
        self.refused = refused


class SlowError(Exception):
    """Brokers do not acknowledge the writes of some partitions, and do those of the others.

    Attributes:
        keys: Topic and number of these input partitions.
    """

    def __init__(self, keys: Collection[tuple[str, int]]) -> None:
        super().__init__(f"slow: {sorted(keys)}")
        self.keys = frozenset(keys)


def state_after(error: KafkaError) -> LaneState:
    """The state after an error or its causes: aiokafka wraps some in plain KafkaErrors."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ExpelledError):
            return LaneState.EXPELLED
        if isinstance(found, _RECOVERED_BY_CLAIM) or getattr(found, "retriable", False):
            return LaneState.UNCLAIMED
        found = found.__cause__
    return LaneState.FAILED
