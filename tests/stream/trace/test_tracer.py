"""The phases of a chunk add up to its life, whatever happened meanwhile."""

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.trace.span import Span
from stream.trace.tracer import BEHIND, CHUNK, WORKER, Interval, Tracer, attribute

EPOCH_NS = 1_700_000_000_000_000_000


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s

    def pass_s(self, seconds: float) -> None:
        self.at_s += seconds


@dataclass
class Stamped:
    timestamp: int


class Traced:
    """A tracer whose spans are kept."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.spans: list[Span] = []
        self.tracer = Tracer(self.spans.extend, self.clock, lambda: EPOCH_NS, Random(1))

    def phases(self) -> dict[str, float]:
        """Milliseconds of the phases of the chunk that was acknowledged last."""
        root = [span for span in self.spans if span.name == CHUNK][-1]
        return {
            span.name: round(span.ms, 3) for span in self.spans if span.parent_id == root.span_id
        }


def test_a_chunk_is_timed_from_its_records_timestamps_to_its_acknowledgement() -> None:
    """Every moment belongs to one phase."""
    traced = Traced()
    tracer, clock = traced.tracer, traced.clock
    now_ms = EPOCH_NS // 1_000_000
    chunk = tracer.opened("requests", 3, 70, [Stamped(now_ms - 30), Stamped(now_ms - 10)])
    clock.pass_s(0.002)
    tracer.begun([chunk])
    for seconds in (0.003, 0.001):
        clock.pass_s(seconds)
        tracer.stage("read", seconds)
    clock.pass_s(0.0005)
    tracer.decided([chunk])
    clock.pass_s(0.0001)
    tracer.writing(chunk)
    clock.pass_s(0.001)
    sent_s = clock()
    clock.pass_s(0.007)
    tracer.request("Produce", sent_s)
    clock.pass_s(0.0002)
    tracer.acknowledged(chunk)
    assert traced.phases() == {
        "fetch wait": 20.0,
        "queue": 2.0,
        "read": 4.0,
        "turns of the loop": 0.5,
        "hand-over": 0.1,
        "write: worker": 1.2,
        "Produce": 7.0,
    }
    root = next(span for span in traced.spans if span.name == CHUNK)
    assert round(root.ms, 3) == 34.8
    assert root.attributes["messaging.destination.partition.id"] == "3"
    assert root.attributes["messaging.batch.message_count"] == 2


def test_the_longest_pause_in_a_chunks_life_is_noted() -> None:
    """One before the fetch does not count."""
    traced = Traced()
    tracer, clock = traced.tracer, traced.clock
    tracer.pause("event loop late", clock() - 1.0)
    chunk = tracer.opened("requests", 0, 0, [])
    started_s = clock()
    clock.pass_s(0.012)
    tracer.pause("event loop late", started_s)
    tracer.begun([chunk])
    tracer.decided([chunk])
    tracer.writing(chunk)
    tracer.acknowledged(chunk)
    root = next(span for span in traced.spans if span.name == CHUNK)
    assert root.attributes["weir.late_ms"] == pytest.approx(12.0)
    assert traced.phases()["fetch wait"] == 0.0


def test_timestamps_ahead_of_the_clock_are_no_wait() -> None:
    """A producer's clock that is wrong makes no negative phase."""
    traced = Traced()
    chunk = traced.tracer.opened("requests", 0, 0, [Stamped(EPOCH_NS // 1_000_000 + 5000)])
    assert chunk.wait_s == 0.0


def test_the_produce_request_that_is_answered_last_is_the_writes_own() -> None:
    """While an earlier one is on its way, the write waits for its turn."""
    requests = [Interval("Produce", 0.0, 2.0), Interval("Produce", 2.5, 5.0)]
    assert attribute(requests, 1.0, 6.0) == {BEHIND: 1.0, WORKER: 1.5, "Produce": 2.5}


def test_a_transaction_is_cut_into_its_requests() -> None:
    """Where two are on their way, the later step of a transaction has the time."""
    requests = [
        Interval("AddPartitionsToTxn", 1.0, 2.0),
        Interval("Produce", 2.0, 4.0),
        Interval("TxnOffsetCommit", 3.0, 5.0),
        Interval("EndTxn", 5.0, 7.0),
    ]
    assert attribute(requests, 0.0, 7.5) == {
        WORKER: 1.5,
        "AddPartitionsToTxn": 1.0,
        "Produce": 1.0,
        "TxnOffsetCommit": 2.0,
        "EndTxn": 2.0,
    }


INTERVALS = st.lists(
    st.builds(
        lambda name, start_s, seconds: Interval(name, start_s, start_s + seconds),
        st.sampled_from(["Produce", "EndTxn", "AddOffsetsToTxn"]),
        st.floats(-5, 15),
        st.floats(0, 10),
    ),
    max_size=12,
)


@given(INTERVALS, st.floats(0, 5), st.floats(0, 8))
def test_attributed_times_add_up(requests: list[Interval], start_s: float, seconds: float) -> None:
    """Whatever requests there are, no time is lost and none counted twice."""
    found = attribute(sorted(requests, key=lambda one: one.end_s), start_s, start_s + seconds)
    assert sum(found.values()) == pytest.approx(seconds, abs=1e-9)
    assert all(value >= 0 for value in found.values())
