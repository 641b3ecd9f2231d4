"""The bytes of the requests are those that Kafka's protocol guide describes."""

import struct
from io import BytesIO

import pytest
from aiokafka.errors import IncompatibleBrokerVersion

from stream.transport.output.group_requests import (
    OFFSET_FETCH,
    TXN_OFFSET_COMMIT,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetchStruct,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    TxnOffsetCommitStruct,
)
from stream.transport.output.sink import Member

OWNER = Member("m-1", 4)


def text(value: str) -> bytes:
    return bytes([len(value) + 1]) + value.encode()


def test_offsets_are_committed_with_generation_and_member() -> None:
    """TxnOffsetCommit v3: compact strings and arrays, no leader epoch, no group instance."""
    request = TxnOffsetCommitRequest(("id", 7, 2), "g", OWNER, {"in": {0: (5, "id"), 3: (9, "")}})
    built = request.prepare({TXN_OFFSET_COMMIT[0]: (0, 5)})
    assert isinstance(built, TxnOffsetCommitStruct)
    expected = text("id") + text("g") + struct.pack(">qhi", 7, 2, 4) + text("m-1") + b"\0"
    expected += b"\2" + text("in") + b"\3"
    expected += struct.pack(">iqi", 0, 5, -1) + text("id") + b"\0"
    expected += struct.pack(">iqi", 3, 9, -1) + text("") + b"\0"
    assert built.encode() == expected + b"\0\0"


def test_the_answer_has_the_form_that_aiokafka_reads() -> None:
    """Pairs of partition and error code, by topic, without tags."""
    partitions = struct.pack(">ih", 0, 22) + b"\0" + struct.pack(">ih", 3, 0) + b"\0"
    answer = struct.pack(">i", 0) + b"\2" + text("in") + b"\3" + partitions + b"\0" + b"\0"
    assert TxnOffsetCommitResponse.decode(BytesIO(answer)).errors == [("in", [(0, 22), (3, 0)])]


@pytest.mark.parametrize("stable", [True, False])
def test_offsets_are_fetched_stable_or_not(stable: bool) -> None:
    """OffsetFetch v7."""
    built = OffsetFetchRequest("g", [("in", 1), ("in", 2)], stable=stable).prepare(
        {OFFSET_FETCH[0]: (1, 9)}
    )
    assert isinstance(built, OffsetFetchStruct)
    expected = text("g") + b"\2" + text("in") + b"\3" + struct.pack(">ii", 1, 2) + b"\0"
    assert built.encode() == expected + bytes([stable]) + b"\0"
    row = struct.pack(">iqi", 1, 40, -1) + text("id") + struct.pack(">h", 0) + b"\0"
    answer = struct.pack(">i", 0) + b"\2" + text("in") + b"\2" + row + b"\0" + b"\0\0" + b"\0"
    found = OffsetFetchResponse.decode(BytesIO(answer))
    assert found.topics == [("in", [(1, 40, -1, "id", 0, {})], {})]


@pytest.mark.parametrize("versions", [{}, {OFFSET_FETCH[0]: (0, 6), TXN_OFFSET_COMMIT[0]: (0, 2)}])
def test_an_older_broker_is_an_error(versions: dict[int, tuple[int, int]]) -> None:
    """Before Kafka 2.5 a group fenced nobody; there is no other way to commit."""
    with pytest.raises((NotImplementedError, IncompatibleBrokerVersion)):
        OffsetFetchRequest("g", [], stable=True).prepare(versions)
    with pytest.raises((NotImplementedError, IncompatibleBrokerVersion)):
        TxnOffsetCommitRequest(("id", 7, 2), "g", OWNER, {}).prepare(versions)
