"""aiokafka's sender, with what it leaves out: which records a topic refused, how long it waited.

- A broker names the records of a batch that its topic does not take (a timestamp out of range, no
  key on a compacted topic). aiokafka drops that. `BatchRefusedError` says it, and since nothing of
  the batch was written, its sequence numbers are given back: the batches behind it stay valid.
- Brokers say for how long a quota held the answer back; aiokafka drops that, too.
- While a topic is missing or without a leader, aiokafka asks for metadata as fast as brokers
  answer, and for a place in the transaction every `retry_backoff_ms`. `calm` and the handlers here
  make that a few times a second.
- An idempotent producer never gives a batch up for its age: what waits for its topic is written
  when that is back.

aiokafka is pinned to a minor version; all of this is its private side.
"""

# ruff: noqa: SLF001

import asyncio
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidTimestampError, KafkaError, UnknownTopicOrPartitionError
from aiokafka.producer import sender
from aiokafka.protocol import produce

from stream.transport.incidents import Incidents

#: Least time between two askings for metadata, or for a place in a transaction, that was refused.
CALM_S: Final = 0.25
_INVALID_RECORD: Final = 87  # a record that its topic does not take, since Kafka 2.4
_REFUSED: Final = (InvalidTimestampError.errno, _INVALID_RECORD)


class BatchRefusedError(KafkaError):  # type: ignore[misc]
    """A batch that its topic does not take; nothing of it was written.

    Attributes:
        indices: Its records that are to blame; all where the broker does not say which.
        why: What the broker says.
    """

    def __init__(self, indices: Sequence[int], why: str) -> None:
        super().__init__(why)
        self.indices = tuple(indices)
        self.why = why


class ProduceHandler(sender.SendProduceReqHandler):  # type: ignore[misc]
    """Takes what was refused out of an answer before aiokafka reads it."""

    def __init__(self, owner: Any, batches: dict[TopicPartition, Any]) -> None:
        super().__init__(owner, dict(batches))  # the sender goes on with the whole of it

    def handle_response(self, response: Any) -> None:
        """Read the answer to a produce request."""
        incidents = getattr(self._client, "weir_incidents", None)
        throttled_ms = getattr(response, "throttle_time_ms", 0)
        if throttled_ms and incidents is not None:
            incidents.throttled(throttled_ms / 1000)
        for topic, partitions in response.topics:
            for partition, code, *rest in partitions:
                tp = TopicPartition(topic, partition)
                if code in _REFUSED and tp in self._batches:
                    self._refuse(self._batches.pop(tp), rest)
        super().handle_response(response)

    def _refuse(self, batch: Any, rest: Sequence[Any]) -> None:
        """``rest`` is what follows the code: ..., record errors, message (since version 8)."""
        errors, message = rest[-2:] if len(rest) > 3 else ((), None)
        count = batch.record_count
        indices = [index for index, _ in errors or () if 0 <= index < count] or range(count)
        why = next((text for _, text in errors or () if text), None) or message
        numbers = self._sender._txn_manager
        if numbers is not None:
            numbers.increment_sequence_number(batch.tp, -count)
        batch.failure(BatchRefusedError(list(indices), why or "the topic does not take it"))


class AddPartitionsHandler(sender.AddPartitionsToTxnHandler):  # type: ignore[misc]
    """Asks again slowly for partitions that are not there."""

    def handle_response(self, response: Any) -> float | None:
        """Read the answer; returns seconds until the next asking, None when all is done."""
        pause_s: float | None = super().handle_response(response)
        codes = {code for _, partitions in response.errors for _, code in partitions}
        if pause_s is not None and UnknownTopicOrPartitionError.errno in codes:
            return max(pause_s, CALM_S)
        return pause_s


class ProduceRequest(produce.ProduceRequest):  # type: ignore[misc]
    """A produce request in the first version whose answer names records; aiokafka stops at 7."""


ProduceRequest._CLASSES = (*produce.ProduceRequest._CLASSES, produce.ProduceRequest_v8)

sender.ProduceRequest = ProduceRequest
sender.SendProduceReqHandler = ProduceHandler
sender.AddPartitionsToTxnHandler = AddPartitionsHandler


def calm(producer: AIOKafkaProducer, incidents: Incidents) -> AIOKafkaProducer:
    """Make a producer, before it starts, patient with topics that are away.

    Args:
        producer: Not started yet.
        incidents: Told of quotas.
    """
    client = producer.client
    client.weir_incidents = incidents
    if producer._txn_manager is not None:  # a retry repeats nothing
        producer._message_accumulator._batch_ttl = inf
    update, next_s = client.force_metadata_update, 0.0

    async def later(seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return await update()

    def force_metadata_update() -> Any:
        nonlocal next_s
        now_s = monotonic()
        wait_s, next_s = next_s - now_s, max(now_s, next_s) + CALM_S
        return update() if wait_s <= 0 else asyncio.ensure_future(later(wait_s))

    client.force_metadata_update = force_metadata_update
    return producer
