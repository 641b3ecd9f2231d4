"""Which timestamps a topic takes is read off its configuration."""

from hypothesis import given
from hypothesis import strategies as st

from stream.transport import Outgoing
from stream.transport.outputs import NO_TIMESTAMP, TopicLimits

NOW = 1_700_000_000_000


@given(
    st.lists(st.integers(NOW - 50, NOW + 50) | st.just(NO_TIMESTAMP), max_size=20),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_refused_are_those_out_of_range(stamps: list[int], before: int, after: int) -> None:
    """Too old or too far ahead by the clock, and no others; a record without one is taken."""
    told = {
        "message.timestamp.before.max.ms": str(before),
        "message.timestamp.after.max.ms": str(after),
    }
    limits = TopicLimits.of(told)
    refused = limits.refused([Outgoing(None, b"v", at) for at in stamps], NOW)
    wrong = [at != NO_TIMESTAMP and not NOW - before <= at <= NOW + after for at in stamps]
    assert refused == [index for index, each in enumerate(wrong) if each]


def test_the_broker_tells_its_limits_or_has_the_defaults() -> None:
    """Brokers before 3.6 have one limit for both; log-append time refuses nothing."""
    records = [Outgoing(None, b"v", 5), Outgoing(None, b"v", NOW + 10**9)]
    assert TopicLimits.of({}).refused(records, NOW) == []
    old = TopicLimits.of({"message.timestamp.difference.max.ms": "1000"})
    assert old.refused(records, NOW) == [0, 1]
    append = {"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "1"}
    assert TopicLimits.of(append).refused(records, NOW) == []
    assert TopicLimits.of({"max.message.bytes": "5000"}).batch_bytes == 5000
