"""Outputs that a topic does not accept are replaced, and nothing else changes."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.transport.chunk import Outputs, RecordsRefusedError, RecordTooLargeError
from stream.transport.lanes.lane import WaitedFor
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import RefusedError
from stream.transport.output.sink import Outgoing
from tests.stream.transport.lanes.model import KEY, Broker, Values, client_of, new_lane


async def test_an_output_too_large_is_replaced_by_its_own_chunk() -> None:
    """Also if several chunks are committed together; the others stay as they are."""
    broker = Broker()
    lane = new_lane(broker)
    await lane.claim()

    def shrink(old: Outputs, error: RecordTooLargeError) -> Outputs:
        records = list(old["out"])
        (index,) = error.sizes
        records[index] = Outgoing(None, b"cut", 0)
        return {"out": records}

    chunks = [[b"a"], [b"b", b"c"], [b"d", b"e" * 11, b"f"], [b"g" * 12]]
    writes = []
    for number, values in enumerate(chunks):
        made = {"out": [Outgoing(None, value, 0) for value in values]}
        writes.append(lane.write(KEY, number, number + 1, made, shrink))
    await asyncio.gather(*writes)
    assert broker.outputs[KEY] == [b"a", b"b", b"c", b"d", b"cut", b"f", b"cut"]
    with pytest.raises(RecordTooLargeError):
        await lane.write(KEY, 4, 5, {"out": [Outgoing(None, b"h" * 11, 0)]})


@given(bad=st.sets(st.integers(0, 8)), cuts=st.lists(st.integers(1, 4), min_size=9, max_size=9))
async def test_what_a_topic_refuses_is_replaced_in_place(bad: set[int], cuts: list[int]) -> None:
    """If it is refused while writing, the transaction is repeated with the replacement."""
    broker = Broker()
    lane = new_lane(broker)
    client = client_of(lane)
    write = client.write

    async def refusing(
        batches: Mapping[Key, Values], offsets: Mapping[Key, int], waited_for: WaitedFor
    ) -> None:
        await write(batches, offsets, waited_for)
        values = enumerate(batches[KEY])
        indices = [i for i, value in values if (value or b"").startswith(b"bad")]
        if indices:
            raise RefusedError(KEY, RecordsRefusedError("out", 0, indices, "too old"))

    def instead(old: Outputs, error: RecordsRefusedError) -> Outputs:
        records = list(old["out"])
        for index in error.indices:
            assert (records[index].value or b"").startswith(b"bad")
            records[index] = Outgoing(None, b"letter", 0)
        return {"out": records}

    client.write = refusing  # type: ignore[method-assign]
    await lane.claim()
    values = [b"bad%d" % i if i in bad else b"%d" % i for i in range(9)]
    writes, first = [], 0
    for size in cuts:
        chunk = values[first : first + size]
        if chunk:
            made = {"out": [Outgoing(None, value, 0) for value in chunk]}
            writes.append(lane.write(KEY, first, first + len(chunk), made, instead))
            first += len(chunk)
    await asyncio.gather(*writes)
    assert broker.outputs[KEY] == [b"letter" if i in bad else b"%d" % i for i in range(9)]
    assert broker.committed[KEY] == 9
