"""A sink's producer reads what aiokafka's drops, and leaves aiokafka's own classes as they are."""

import asyncio
import gc
from collections.abc import AsyncIterator
from math import inf

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import TransactionalIdAuthorizationFailed
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.protocol.metadata import MetadataResponse_v0
from aiokafka.protocol.produce import ProduceRequest_v8, ProduceResponse_v8

from stream.transport.incidents import Incidents
from stream.transport.lanes.state import ExpelledError
from stream.transport.output.batch_builder import Batch
from stream.transport.output.producer import BatchRefusedError, ProduceHandler, Producer, paced

OUT = TopicPartition("out", 0)
INVALID_RECORD = 87
ONE_TOPIC = MetadataResponse_v0([(1, "127.0.0.1", 9092)], [(0, "out", [(0, 0, 1, [1], [1])])])


@pytest.fixture
async def producer() -> AsyncIterator[Producer]:
    made = Producer(Incidents(), transactional_id="in-0")
    yield made
    await made.disconnect()


def handler(producer: Producer, count: int) -> tuple[ProduceHandler, MessageBatch]:
    """A handler of one batch, which the transaction manager has numbered."""
    builder = Batch(producer, 1_000, "none")
    for number in range(count):
        builder.append(timestamp=number, key=None, value=b"v", headers=[])
    batch = MessageBatch(OUT, builder, inf, 0)
    producer._txn_manager.increment_sequence_number(OUT, count)
    return ProduceHandler(producer._sender, {OUT: batch}), batch


def response(code: int, errors: list[tuple[int, str | None]], message: str | None) -> object:
    partition = (0, code, -1, -1, 0, errors, message)
    return ProduceResponse_v8(topics=[("out", [partition])], throttle_time_ms=250)


@pytest.mark.parametrize(
    ("errors", "message", "indices", "why"),
    [
        ([(1, "no key"), (7, "not of this batch")], "refused", (1,), "no key"),
        ([], "too old", (0, 1, 2), "too old"),
        ([], None, (0, 1, 2), "the topic does not accept it"),
    ],
)
async def test_a_refused_batch_names_its_records_and_returns_its_sequence_numbers(
    producer: Producer,
    errors: list[tuple[int, str | None]],
    message: str | None,
    indices: tuple[int, ...],
    why: str,
) -> None:
    """If the broker names no record, all are refused; the next batch has the same numbers."""
    handling, batch = handler(producer, 3)
    handling.handle_response(response(INVALID_RECORD, errors, message))
    refused = batch.future.exception()
    assert isinstance(refused, BatchRefusedError)
    assert (refused.indices, refused.why) == (indices, why)
    assert producer._txn_manager.sequence_number(OUT) == 0


async def test_a_batch_after_the_end_of_its_transaction_raises_the_transactions_error(
    producer: Producer,
) -> None:
    """It waited for its turn meanwhile; aiokafka's own error is not one of Kafka."""
    producer.client.cluster.update_metadata(ONE_TOPIC)
    transactions = producer._txn_manager
    transactions.set_pid_and_epoch(7, 0)
    await producer.begin_transaction()
    transactions.error_transaction(ExpelledError("weir-1"))
    with pytest.raises(ExpelledError, match="weir-1"):
        await producer.send_batch(Batch(producer, 1_000, "none"), "out", partition=0)


async def test_a_batch_that_is_accepted_is_done_and_throttling_is_counted() -> None:
    """Whatever the answer is, the quota's delay is reported."""
    seconds: list[float] = []

    class Counted(Incidents):
        def throttled(self, seconds_: float) -> None:
            seconds.append(seconds_)

    made = Producer(Counted(), enable_idempotence=True, acks="all")
    handling, batch = handler(made, 2)
    handling.handle_response(response(0, [], None))
    assert batch.future.done()
    assert batch.future.exception() is None
    assert made._txn_manager.sequence_number(OUT) == 2
    assert seconds == [0.25]
    await made.disconnect()


async def test_another_producer_of_the_process_is_one_of_aiokafka(producer: Producer) -> None:
    """Its sender, handlers, pauses and expiry are those that aiokafka has without Weir."""
    other = AIOKafkaProducer()
    assert type(other._sender) is sender.Sender
    assert sender.SendProduceReqHandler.__module__ == "aiokafka.producer.sender"
    assert sender.BACKOFF_OVERRIDE == 0.02
    assert other._message_accumulator._batch_ttl < inf
    assert producer._message_accumulator._batch_ttl == inf
    theirs = sender.SendProduceReqHandler(other._sender, {}).create_request()
    ours = ProduceHandler(producer._sender, {}).create_request()
    assert ProduceRequest_v8 not in theirs._CLASSES
    assert (*theirs._CLASSES, ProduceRequest_v8) == ours._CLASSES
    await other.stop()


async def test_metadata_requests_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come together are sent one after the other, and none is dropped."""
    monkeypatch.setattr("stream.transport.output.producer.RETRY_INTERVAL_S", 0.05)
    clock = asyncio.get_running_loop().time
    sent: list[float] = []

    async def update() -> bool:
        sent.append(clock())
        return True

    request, start = paced(update), clock()
    assert await asyncio.gather(*(request() for _ in range(4))) == [True] * 4
    assert len(sent) == 4
    assert sent[-1] - start >= 0.14


async def test_errors_that_nobody_awaits_are_not_logged(producer: Producer) -> None:
    """The sender failed while batches were queued and a transaction was open."""
    logged: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: logged.append(context))
    transactions = producer._txn_manager
    transactions.set_pid_and_epoch(1, 0)
    await producer.begin_transaction()
    queued = producer._message_accumulator
    for partition in range(2):
        batch = Batch(producer, 1_000, "none")
        batch.append(timestamp=1, key=None, value=b"v", headers=[])
        await queued.add_batch(batch, TopicPartition("out", partition), 1.0)
    queued._pop_batch(OUT)

    async def fails() -> None:
        raise TransactionalIdAuthorizationFailed("in-0")

    task = asyncio.ensure_future(fails())
    await asyncio.wait([task])
    producer._sender._fail_all(task)
    assert transactions.is_fatal_error()
    await asyncio.sleep(0)  # callbacks of the futures
    queued._batches.clear()
    transactions._transaction_waiter = None
    gc.collect()
    assert logged == []
