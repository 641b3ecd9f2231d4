"""A chunk on its way from the consumer to an agent, and the Faust message that carries it."""

from dataclasses import dataclass
from typing import Any

from faust.types import TP, ConsumerMessage

from stream.trace.tracer import ChunkTrace
from stream.transport.chunk import Chunk
from stream.transport.ledger import Ticket


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A chunk that was handed to an agent.

    Attributes:
        chunk: The chunk.
        ticket: Its ticket in the ledger.
        trace: Its times, while a trace is written.
    """

    chunk: Chunk
    ticket: Ticket[TP]
    trace: ChunkTrace | None = None


class FetchMessage(ConsumerMessage):  # type: ignore[misc]
    """What one fetch returned for the partitions of one topic; its value is a list of deliveries.

    Faust acknowledges a message when its event is done, even when the agent raised. Here that has
    no effect: only `Consumer.complete` acknowledges a chunk.
    """

    def __init__(self, deliveries: list[Delivery], generation_id: int) -> None:
        first = deliveries[0].chunk
        super().__init__(
            first.topic,
            first.partition,
            first.start,
            first.records[-1].timestamp / 1000.0 if first.records else 0.0,
            0,
            None,
            None,
            deliveries,
            None,
            tp=deliveries[0].ticket.partition,
            generation_id=generation_id,
        )
        self.acked = True  # for Faust, which then leaves it alone

    def ack(self, _consumer: Any, _n: int = 1) -> bool:
        """Do nothing; see `Consumer.complete`."""
        return False
