"""What an output topic accepts is read from the brokers: timestamps, sizes, partitions."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import Outgoing, OutputTopics, PartitionsError
from stream.transport.output.output_topics import NO_TIMESTAMP, TopicLimits
from tests.stream.transport.apps import create, numbered, write

NOW = 1_700_000_000_000


@given(
    st.lists(st.integers(NOW - 50, NOW + 50) | st.just(NO_TIMESTAMP), max_size=20),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_refused_are_those_out_of_range(stamps: list[int], before: int, after: int) -> None:
    """Too old or too far ahead, and no others; a record without a timestamp is accepted."""
    config = {
        "message.timestamp.before.max.ms": str(before),
        "message.timestamp.after.max.ms": str(after),
    }
    limits = TopicLimits.of(config)
    refused = limits.refused([Outgoing(None, b"v", at) for at in stamps], NOW)
    wrong = [at != NO_TIMESTAMP and not NOW - before <= at <= NOW + after for at in stamps]
    assert refused == [index for index, each in enumerate(wrong) if each]


def test_missing_limits_are_the_defaults() -> None:
    """Brokers before 3.6 have one limit for both; log-append time refuses nothing."""
    records = [Outgoing(None, b"v", 5), Outgoing(None, b"v", NOW + 10**9)]
    assert TopicLimits.of({}).refused(records, NOW) == []
    old = TopicLimits.of({"message.timestamp.difference.max.ms": "1000"})
    assert old.refused(records, NOW) == [0, 1]
    append = {"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "1"}
    assert TopicLimits.of(append).refused(records, NOW) == []
    assert TopicLimits.of({"max.message.bytes": "5000"}).batch_bytes == 5000


@pytest.mark.broker
async def test_partitions_that_cannot_be_added_are_an_error_that_names_both_counts(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """The embedded broker adds none. A topic that is missing, or large enough, is no error."""
    topic = await create(broker.bootstrap, unique("out"), 2)
    client = {"bootstrap_servers": broker.bootstrap}
    outputs = OutputTopics(client, (topic, unique("missing")))
    await outputs.fit([("in", 1)])
    with pytest.raises(PartitionsError, match=rf"{topic} has 2 partitions, the requests have 4"):
        await outputs.fit([("in", 0), ("in", 3)])


@pytest.mark.broker
async def test_partitions_with_outputs_have_been_filtered(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """Those with whose number an output topic has records; a missing topic has none."""
    first = await create(broker.bootstrap, unique("first"), 3)
    second = await create(broker.bootstrap, unique("second"), 3)
    await write(broker.bootstrap, second, 1, numbered(5))
    outputs = OutputTopics({"bootstrap_servers": broker.bootstrap}, (first, second, unique("no")))
    assert await outputs.filtered([("in", number) for number in range(4)]) == {("in", 1)}
