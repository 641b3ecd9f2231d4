"""The transactional sink without transactions, and without a claim."""

from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.transport import Chunk, Outgoing, ReleasedError, TransactionalSink
from stream.transport.output.exactly_once import TransactionsUnsupportedError
from tests.stream.transport.apps import create

pytestmark = pytest.mark.broker

Unique = Callable[[str], str]


async def test_a_broker_without_transactions_is_named_at_the_start(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """With what to use instead: the embedded broker gives no producer ids."""
    topic = await create(broker.bootstrap, unique("out"))
    client = {"bootstrap_servers": broker.bootstrap}
    sink = TransactionalSink(client, unique("group"), [topic], heartbeat_s=3.0)
    with pytest.raises(TransactionsUnsupportedError) as caught:
        await sink.start()
    assert "the broker does not support producer ids" in str(caught.value)
    assert "use Apache Kafka 2.5 or newer, or the guarantee at-least-once" in str(caught.value)
    await sink.stop()


async def test_no_broker_is_an_error_at_the_start() -> None:
    """The sink connects before it is used."""
    client = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    with pytest.raises(KafkaConnectionError):
        await TransactionalSink(client, "group", ["out"], heartbeat_s=3.0).start()


async def test_a_partition_that_is_not_claimed_is_not_written() -> None:
    """It was revoked in the meantime; the chunk is another worker's now."""
    sink = TransactionalSink({}, "group", ["out"], heartbeat_s=3.0)
    chunk = Chunk("requests", 3, [], 40, 50, 0, 0.0)
    with pytest.raises(ReleasedError, match=r"requests\[3\]"):
        await sink.write(chunk, {"out": [Outgoing(None, b"v", 1)]})
    await sink.drain()
    await sink.release([("requests", 3)])


def test_it_commits_by_itself() -> None:
    """So the consumer must not commit these offsets, too."""
    assert TransactionalSink.commits
