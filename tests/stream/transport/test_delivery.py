"""The Faust message that carries the chunks of one fetch."""

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream.transport.chunk import Chunk
from stream.transport.delivery import Delivery, FetchMessage
from stream.transport.ledger import Ticket


def delivery(start: int, *timestamps: int) -> Delivery:
    records: list[Any] = [SimpleNamespace(timestamp=timestamp) for timestamp in timestamps]
    chunk = Chunk("requests", 3, records, start, start + len(records), 0, 0.0)
    return Delivery(chunk, Ticket(TP("requests", 3), start, start + len(records), 0))


def test_it_has_the_place_and_time_of_its_first_chunk() -> None:
    """Faust reads them from the message; the chunks themselves are its value."""
    first, second = delivery(40, 1_700_000_000_000, 1_700_000_000_500), delivery(42, 5)
    message = FetchMessage([first, second], 7)
    assert (message.topic, message.partition, message.offset) == ("requests", 3, 40)
    assert message.timestamp == 1_700_000_000.5
    assert message.value == [first, second]
    assert message.tp == TP("requests", 3)
    assert message.generation_id == 7


def test_a_fetch_of_markers_alone_has_no_time() -> None:
    """Its offsets are passed on, with no record between them."""
    assert FetchMessage([delivery(40)], 1).timestamp == 0.0


@pytest.mark.parametrize("count", [1, 5])
def test_faust_cannot_acknowledge_it(count: int) -> None:
    """An event of Faust is done even when the agent raised; that must commit nothing."""
    message = FetchMessage([delivery(40, 1)], 1)
    assert message.acked
    assert message.ack(SimpleNamespace(), count) is False
    assert message.offset == 40


def test_deliveries_are_told_apart_by_identity() -> None:
    """Two chunks of equal content are two deliveries, each acknowledged by itself."""
    assert delivery(40, 1) != delivery(40, 1)
    assert len({delivery(40, 1), delivery(40, 1)}) == 2
