"""What is packed into batches comes out of them, timestamps included."""

from types import SimpleNamespace
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from stream.transport import Outgoing
from stream.transport.batches import pack

PRODUCER: Any = SimpleNamespace(_txn_manager=None)


def timestamps(batch: BatchBuilder) -> list[int]:
    found = []
    records = MemoryRecords(bytes(batch._build()))
    while records.has_next():
        found += [record.timestamp for record in records.next_batch()]
    return found


@given(st.lists(st.sampled_from([-1, 0, 1, 1_700_000_000_000]), max_size=30))
def test_any_timestamps_are_kept(stamps: list[int]) -> None:
    """-1 says that a record has none, at the head of a batch as anywhere."""
    records = [Outgoing(b"k", b"v", stamp) for stamp in stamps]
    batches = pack(PRODUCER, "topic", 0, records, 10_000)
    assert [at for batch in batches for at in timestamps(batch)] == stamps
