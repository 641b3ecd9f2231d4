"""Re-keying: whatever lies on the pass topic and on outcomes."""

import random

import orjson
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.features import FeatureSpec
from stream.feedback.join import FeedbackJoin
from stream.feedback.pending import PROGRESS_KEY, REQUEST_KIND, PendingRequest
from stream.feedback.rekey import Rekeyed, Rekeyer
from stream.messages import Decision, Outcome, Reason
from stream.messages.refusals import Refusals
from stream.transport import Chunk, Outgoing
from tests.stream.feedback.test_join import LATENESS_S, TASKS

SPEC = FeatureSpec.load("openrtb")
DECISION = Decision("m1", 0.25, 0.5, Reason.SCORE, 1.0, 3)
NOW = 1_800_000_000_000
Headers = list[tuple[str, bytes | None]]


def chunk(*records: tuple[bytes | None, bytes | None, int, Headers]) -> Chunk:
    fetched = [
        ConsumerRecord("in", 2, 10 + n, ts, 0, key, value, None, 0, 0, headers)
        for n, (key, value, ts, headers) in enumerate(records)
    ]
    return Chunk("in", 2, fetched, 10, 10 + len(fetched), 0, 0.0)


def bid(request_id: object) -> bytes:
    return orjson.dumps({"id": request_id, "imp": [{"id": "1"}], "site": {"id": "s"}})


class Work:
    """A rekeyer, and what it refused."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rekeyer = Rekeyer(SPEC, 4, 900_000, Refusals(self.registry))

    def refused(self) -> float:
        labels = {"topic": "in"}
        return self.registry.get_sample_value("weir_refused_messages_total", labels) or 0.0


def flat(rekeyed: Rekeyed) -> list[Outgoing]:
    return [record for records in rekeyed.values() for record in records]


def test_the_last_weir_header_is_the_workers() -> None:
    """A header of that name that the exchange sent stands before it and is not believed."""
    work = Work()
    foreign = Decision("evil", 1.0, 0.0, Reason.EXPLORE, 1e-9, 0).to_bytes()
    headers: Headers = [("weir", foreign), ("weir", b"x" * 70_000), DECISION.to_header()]
    (record,) = flat(work.rekeyer.requests(chunk((b"k", bid("a"), NOW, headers)), NOW))
    assert PendingRequest.from_bytes(record.value or b"").decision == DECISION
    assert work.refused() == 0


@pytest.mark.parametrize(
    ("value", "ts", "header"),
    [
        (bid("a"), NOW, b"x" * 70_000),
        (bid("a"), NOW, DECISION.to_bytes() + b" " * 70_000),
        (bid("a"), NOW, None),
        (bid("a"), NOW, b'{"model":"m","e":"x","threshold":1,"reason":"score"}'),
        (bid("a"), NOW, DECISION.to_bytes().replace(b"0.25", b"1e999")),
        (bid("a"), NOW, DECISION.to_bytes().replace(b"1.0", b"-1.0")),
        (bid("a"), -1, DECISION.to_bytes()),
        (bid("a"), 2**63 - 1, DECISION.to_bytes()),
        (bid(""), NOW, DECISION.to_bytes()),
        (bid("\x00"), NOW, DECISION.to_bytes()),
        (bid("a" * 5_000), NOW, DECISION.to_bytes()),
        (b"{}", NOW, DECISION.to_bytes()),
        (None, NOW, DECISION.to_bytes()),
    ],
)
def test_what_cannot_be_joined_is_refused_beside_what_can(
    value: bytes | None, ts: int, header: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad passed request is counted, logged with its coordinates, and hides no good one."""
    work = Work()
    good = (b"k", bid("good"), NOW, [DECISION.to_header()])
    made = flat(work.rekeyer.requests(chunk(good, (b"k", value, ts, [("weir", header)])), NOW))
    assert [record.key for record in made] == [b"good"]
    assert work.refused() == 1
    assert "in[2]@11: not joined" in caplog.text
    assert all(len(line) < 800 for line in caplog.text.splitlines())


def test_outcomes_are_written_anew_within_their_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """An outcome of 1.01 MB is refused; one with fields of its own goes on without them."""
    work = Work()
    long = orjson.dumps({"request_id": "a", "task": "click", "ts": 5, "pad": "x" * 1_010_000})
    wide = orjson.dumps({"request_id": "b", "task": "click", "ts": 5, "pad": [1, 2]})
    records = [(None, value, NOW, []) for value in (long, wide)]
    (record,) = flat(work.rekeyer.outcomes(chunk(*records), NOW))
    assert (record.key, record.value) == (b"b", Outcome("b", "click", 5).to_bytes())
    assert "in[2]@10: not joined" in caplog.text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.sampled_from(["a", "click", "\x00", "", "x" * 2000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def encoded(doc: object) -> bytes:
    try:
        return orjson.dumps(doc)
    except TypeError:  # an integer beyond 64 bits
        return repr(doc).replace("'", '"').replace("None", "null").encode()


OUTCOMES = st.fixed_dictionaries({}, optional={"request_id": JSON, "task": JSON, "ts": JSON})
VALUES = st.none() | st.binary(max_size=80) | OUTCOMES.map(encoded) | JSON.map(encoded)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12), st.integers(0, 2**32))
def test_no_outcome_ends_the_rekeyer_or_the_join(values: list[bytes | None], seed: int) -> None:
    """Every arbitrary outcome is refused or joined; those of the sender come out, too."""
    work, join = Work(), FeedbackJoin(TASKS, 10.0, LATENESS_S)
    good = Outcome("good", "click", NOW).to_bytes()
    mixed = [*values, good]
    random.Random(seed).shuffle(mixed)
    made = flat(work.rekeyer.outcomes(chunk(*((None, value, NOW, []) for value in mixed)), NOW))
    assert len(made) + work.refused() == len(mixed)
    assert (b"good", good) in [(record.key, record.value) for record in made]
    for record in made:
        join.add_outcome(Outcome.from_bytes(record.value))
    join.emit()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=80) | JSON.map(lambda doc: encoded({"id": doc})),
            st.integers(-(2**63), 2**63 - 1),
            st.lists(
                st.tuples(st.sampled_from(["weir", "x"]), st.none() | st.binary()), max_size=3
            ),
        ),
        max_size=8,
    )
)
def test_no_passed_request_ends_the_rekeyer(
    records: list[tuple[bytes | None, int, Headers]],
) -> None:
    """Arbitrary values, timestamps and headers are refused beside a good request."""
    work = Work()
    bad = [(None, value, ts, headers) for value, ts, headers in records]
    good = (None, bid("good"), NOW, [("weir", b"x"), DECISION.to_header()])
    made = flat(work.rekeyer.requests(chunk(*bad, good), NOW))
    assert [record.key for record in made] == [b"good"]
    assert work.refused() == len(records)
    assert {bytes(record.value or b"")[:1] for record in made} == {REQUEST_KIND}
    assert PROGRESS_KEY not in [record.key for record in made]
