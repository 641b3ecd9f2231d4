"""aiokafka's producer with what a sink needs besides: refused records, throttling, patience.

- A broker names the records of a batch that its topic does not accept (a timestamp out of range, no
  key on a compacted topic). aiokafka drops that. Here `BatchRefusedError` carries it, and because
  nothing of the batch was written, its sequence numbers are returned, so that the batches after it
  stay valid.
- A broker says for how long a quota delayed its response. aiokafka drops that, too.
- While a topic is missing or has no leader, aiokafka requests metadata as fast as brokers answer,
  and repeats AddPartitionsToTxn every `retry_backoff_ms`. Here both happen a few times a second.
- aiokafka's client refreshes the metadata of the topics that it tracks, and forgets all others. It
  tracks a topic that was missing when it was first needed, but none that the first metadata already
  had: that topic's leader is unknown from the next refresh on, and batches wait for it until they
  expire. Here every topic that is written to is tracked.
- An idempotent producer never expires a batch: it is written once its topic is available again.
- A transaction that follows another one closely waits 2 ms for it, not 20.
- Offsets are added to a transaction on behalf of a member of the group (`group_requests`). If the
  group has expelled it, that transaction fails with `ExpelledError`; aiokafka's sender would end
  with a stack trace.
- A producer that fails sets its error on futures that nobody may await any more; asyncio would log
  each of them at the end of the process, after the line that says why it ended.

Each producer has a sender and handlers of its own classes; aiokafka's modules stay as they are, and
so do all other producers of the process. docs/faust.md lists what is overridden.
"""

# ruff: noqa: SLF001

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    InvalidTimestampError,
    KafkaError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.producer import sender
from aiokafka.protocol import produce

from stream.kafka.rebound import rebound
from stream.transport.concurrency import at_most
from stream.transport.incidents import Incidents
from stream.transport.lanes.state import ExpelledError
from stream.transport.output.group_requests import (
    EXPELLED,
    TxnOffsetCommitRequest,
)
from stream.transport.output.sink import NO_MEMBER, Member

#: Minimum time between two metadata requests, or two requests to add partitions to a transaction.
RETRY_INTERVAL_S: Final = 0.25

#: While the broker writes the markers of a transaction, for a millisecond or two, it refuses the
#: next one of the same id. aiokafka then waits for 20 ms, most of the time that a commit takes.
NEXT_TRANSACTION_S: Final = 0.002

CLOSE_S: Final = 5.0
_INVALID_RECORD: Final = 87  # a record that its topic does not accept, since Kafka 2.4
_REFUSED: Final = (InvalidTimestampError.errno, _INVALID_RECORD)


class BatchRefusedError(KafkaError):  # type: ignore[misc]
    """A batch that its topic does not accept; nothing of it was written.

    Attributes:
        indices: The refused records; all records of the batch if the broker does not name any.
        why: The reason, as the broker gives it.
    """

    def __init__(self, indices: Sequence[int], why: str) -> None:
        super().__init__(why)
        self.indices = tuple(indices)
        self.why = why


class ProduceRequest(produce.ProduceRequest):  # type: ignore[misc]
    """A produce request up to version 8, whose response names records; aiokafka stops at 7."""


ProduceRequest._CLASSES = (*produce.ProduceRequest._CLASSES, produce.ProduceRequest_v8)


class ProduceHandler(sender.SendProduceReqHandler):  # type: ignore[misc]
    """Handles the refused batches of a produce response before aiokafka does.

    Args:
        owner: The sender.
        batches: Batches to send, by partition.
    """

    create_request = rebound(
        sender.SendProduceReqHandler.create_request, ProduceRequest=ProduceRequest
    )

    def __init__(self, owner: "Sender", batches: dict[TopicPartition, Any]) -> None:
        super().__init__(owner, dict(batches))  # a copy: the sender still needs all of them

    def handle_response(self, response: Any) -> None:
        """Read the response to a produce request."""
        throttled_ms = getattr(response, "throttle_time_ms", 0)
        if throttled_ms:
            self._sender.incidents.throttled(throttled_ms / 1000)
        for topic, partitions in response.topics:
            for partition, code, *rest in partitions:
                tp = TopicPartition(topic, partition)
                if code in _REFUSED and tp in self._batches:
                    self._refuse(self._batches.pop(tp), rest)
        super().handle_response(response)

    def _refuse(self, batch: Any, rest: Sequence[Any]) -> None:
        """Fail a batch; ``rest`` follows the code: ..., record errors, message (from version 8)."""
        errors, message = rest[-2:] if len(rest) > 3 else ((), None)
        count = batch.record_count
        indices = [index for index, _ in errors or () if 0 <= index < count] or range(count)
        why = next((text for _, text in errors or () if text), None) or message
        transactions = self._sender._txn_manager
        if transactions is not None:
            transactions.increment_sequence_number(batch.tp, -count)
        batch.failure(BatchRefusedError(list(indices), why or "the topic does not accept it"))


class AddPartitionsHandler(sender.AddPartitionsToTxnHandler):  # type: ignore[misc]
    """Retries partitions that do not exist slowly, and a transaction after another one quickly."""

    _handle_response = rebound(
        sender.AddPartitionsToTxnHandler.handle_response, BACKOFF_OVERRIDE=NEXT_TRANSACTION_S
    )

    def handle_response(self, response: Any) -> float | None:
        """Read the response; returns seconds until the next request, None when all is done."""
        pause_s: float | None = self._handle_response(response)
        codes = {code for _, partitions in response.errors for _, code in partitions}
        if pause_s is not None and UnknownTopicOrPartitionError.errno in codes:
            return max(pause_s, RETRY_INTERVAL_S)
        return pause_s


class OffsetsHandler(sender.TxnOffsetCommitHandler):  # type: ignore[misc]
    """Adds offsets to a transaction on behalf of the sender's member of the group."""

    def create_request(self) -> TxnOffsetCommitRequest:
        """The request for the offsets that are not added yet."""
        transactions = self._sender._txn_manager
        offsets: defaultdict[str, dict[int, tuple[int, str]]] = defaultdict(dict)
        for tp, at in self._offsets.items():
            offsets[tp.topic][tp.partition] = (at.offset, at.metadata)
        producer = (
            transactions.transactional_id, transactions.producer_id, transactions.producer_epoch
        )  # fmt: skip
        return TxnOffsetCommitRequest(producer, self._group_id, self._sender.member, offsets)

    def handle_response(self, response: Any) -> float | None:
        """Read the response; returns seconds until the next request, None when all is done."""
        codes = {code for _, partitions in response.errors for _, code in partitions}
        if refused := codes & EXPELLED:
            error = ExpelledError(f"{self._sender.member}: {for_code(min(refused)).__name__}")
            self._sender._txn_manager.error_transaction(error)
            return None
        pause_s: float | None = super().handle_response(response)
        return pause_s


class Sender(sender.Sender):  # type: ignore[misc]
    """aiokafka's sender with the handlers above.

    Args:
        incidents: Throttling is reported to it.
        member: The member of the group for which offsets are added to transactions.
        client: As of aiokafka's sender.
        options: As of aiokafka's sender.
    """

    _send_produce_req = rebound(
        sender.Sender._send_produce_req, SendProduceReqHandler=ProduceHandler
    )
    _do_add_partitions_to_txn = rebound(
        sender.Sender._do_add_partitions_to_txn, AddPartitionsToTxnHandler=AddPartitionsHandler
    )
    _do_txn_offset_commit = rebound(
        sender.Sender._do_txn_offset_commit, TxnOffsetCommitHandler=OffsetsHandler
    )

    def __init__(self, incidents: Incidents, member: Member, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.incidents = incidents
        self.member = member

    def _fail_all(self, task: asyncio.Task[None]) -> None:
        super()._fail_all(task)
        queued = self._message_accumulator._batches.values()
        failed = [*self._message_accumulator._pending_batches, *(b for q in queued for b in q)]
        for batch in failed:
            retrieve(batch.future)
            retrieve(batch._drain_waiter)
        if self._txn_manager is not None and self._txn_manager._transaction_waiter is not None:
            retrieve(self._txn_manager._transaction_waiter)


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """The producer of a sink; see the module.

    Args:
        incidents: Throttling is reported to it.
        member: The member of the group for which offsets are added to transactions.
        options: Options of aiokafka's producer.
    """

    def __init__(self, incidents: Incidents, member: Member = NO_MEMBER, **options: Any) -> None:
        super().__init__(**options)
        theirs: Any = self._sender
        self._sender: Any = Sender(
            incidents,
            member,
            self.client,
            acks=theirs._acks,
            txn_manager=self._txn_manager,
            message_accumulator=self._message_accumulator,
            retry_backoff_ms=theirs._retry_backoff * 1000,
            request_timeout_ms=self._request_timeout_ms,
        )
        if self._txn_manager is not None:  # a retry writes nothing twice
            self._message_accumulator._batch_ttl = inf
        self.client.force_metadata_update = paced(self.client.force_metadata_update)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """As aiokafka's; the topic's metadata is refreshed from now on.

        Raises:
            KafkaError: If the transaction has failed while this batch waited: its error.
        """
        self.client._topics.add(topic)
        try:
            sent: asyncio.Future[Any] = await super().send_batch(batch, topic, partition=partition)
        except IllegalOperation:
            ended = self._txn_manager._transaction_waiter
            if ended is not None and ended.done() and (error := ended.exception()):
                raise error from None
            raise
        sent.add_done_callback(retrieve)
        return sent

    async def begin_transaction(self) -> None:
        """As aiokafka's."""
        await super().begin_transaction()
        self._txn_manager._transaction_waiter.add_done_callback(retrieve)

    async def disconnect(self) -> None:
        """Stop; if that takes longer than `CLOSE_S`, close the connections without a flush."""
        if not await at_most(CLOSE_S, self.stop()):
            await at_most(CLOSE_S, self.client.close())

    async def abandon(self) -> None:
        """Close the connections; what is being written does not matter any more."""
        self._closed = True
        await at_most(CLOSE_S, self.client.close())
        await at_most(CLOSE_S, self._sender.close())


def retrieve(future: asyncio.Future[Any]) -> None:
    """Mark a future's error as seen; who awaits the future still gets it."""
    if future.done() and not future.cancelled():
        future.exception()


def paced(update: Callable[[], Any]) -> Callable[[], Any]:
    """`update`, a metadata request, at most once in `RETRY_INTERVAL_S`; the others wait."""
    next_s = 0.0

    async def later(seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return await update()

    def paced_update() -> Any:
        nonlocal next_s
        now_s = monotonic()
        wait_s, next_s = next_s - now_s, max(now_s, next_s) + RETRY_INTERVAL_S
        return update() if wait_s <= 0 else asyncio.ensure_future(later(wait_s))

    return paced_update
