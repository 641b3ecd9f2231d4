"""Examples of whatever lies on the pass topic, and the sample by id."""

import numpy as np
import orjson
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.features import FeatureSpec
from stream.feedback.example_maker import ExampleMaker, Made
from stream.messages import Decision, Reason, TrainingExample
from stream.messages.refusals import Refusals
from stream.policy.scenario_index import scenario_row
from stream.transport import FetchedRecord

SPEC = FeatureSpec.load("openrtb")
DECISION = Decision("m1", 0.25, 0.5, Reason.SCORE, 1.0, 3)
NOW = 1_800_000_000_000
Headers = list[tuple[str, bytes | None]]
Row = tuple[bytes | None, int, Headers]


def fetched(*rows: Row) -> list[FetchedRecord]:
    return [
        ConsumerRecord("in", 2, 10 + n, ts, 0, b"k", value, None, 0, 0, headers)
        for n, (value, ts, headers) in enumerate(rows)
    ]


def bid(request_id: object, site: str = "s") -> bytes:
    return orjson.dumps({"id": request_id, "imp": [{"id": "1"}], "site": {"id": site}})


def good(request_id: str, ts: int = NOW) -> Row:
    return bid(request_id, request_id), ts, [DECISION.to_header()]


class Work:
    """A maker, and what it refused."""

    def __init__(self, keep_share: float = 1.0, scenario_path: str = "") -> None:
        self.registry = CollectorRegistry()
        refusals = Refusals(self.registry)
        self.maker = ExampleMaker(SPEC, keep_share, 900_000, refusals, scenario_path)

    def make(self, *rows: Row) -> Made:
        return self.maker.make(fetched(*rows), NOW + 5)

    def refused(self) -> float:
        labels = {"topic": "in"}
        return self.registry.get_sample_value("weir_refused_messages_total", labels) or 0.0


def read(made: Made) -> list[TrainingExample]:
    return [TrainingExample.from_bytes(record.value) for record in made.examples]


def test_an_example_has_the_requests_time_features_and_decision() -> None:
    """The record is keyed by request id, stamped with the time of writing, and names its source."""
    made = Work().make(good("a", NOW - 9), good("b", NOW - 8))
    value = orjson.loads(bid("b", "b"))
    features = SPEC.extractor().extract([value], np.array([NOW - 8]))[0].tolist()
    assert read(made)[1] == TrainingExample("b", NOW - 8, SPEC.hash, features, DECISION, 1.0)
    assert [(r.key, r.timestamp, r.source) for r in made.examples] == [
        (b"a", NOW + 5, 10),
        (b"b", NOW + 5, 11),
    ]
    assert (made.left_out, made.refused) == (0, 0)


def test_an_example_says_its_scenario_as_the_policy_knows_it() -> None:
    """The hash is that of the name; features are the same; without a name, or a path, it is 0."""
    unnamed = (orjson.dumps({"id": "c", "imp": [{"id": "1"}]}), NOW, [DECISION.to_header()])
    escaped = (bid("d", "sh\u00f6p").replace("ö".encode(), b"\\u00f6"), NOW, unnamed[2])
    found = read(Work(scenario_path="site.id").make(good("a"), good("b"), unnamed, escaped))
    names = ["a", "b", None, "sh\u00f6p"]
    assert [each.scenario for each in found] == [
        0 if name is None else scenario_row(name) for name in names
    ]
    plain = read(Work().make(good("a"), good("b"), unnamed, escaped))
    assert {each.scenario for each in plain} == {0}
    assert [each.features for each in found] == [each.features for each in plain]


def test_the_last_weir_header_is_the_workers() -> None:
    """A header of that name that the exchange sent stands before it and is not believed."""
    work = Work()
    foreign = Decision("evil", 1.0, 0.0, Reason.EXPLORE, 1e-9, 0).to_bytes()
    headers: Headers = [("weir", foreign), ("weir", b"x" * 70_000), DECISION.to_header()]
    (example,) = read(work.make((bid("a"), NOW, headers)))
    assert example.decision == DECISION
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
        (bid("a" * 5_000), NOW, DECISION.to_bytes()),
        (b"{}", NOW, DECISION.to_bytes()),
        (None, NOW, DECISION.to_bytes()),
    ],
)
def test_what_has_no_example_is_refused_beside_what_has(
    value: bytes | None, ts: int, header: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad passed request is counted, logged with its coordinates, and hides no good one."""
    work = Work()
    made = work.make(good("good"), (value, ts, [("weir", header)]))
    assert [record.key for record in made.examples] == [b"good"]
    assert work.refused() == made.refused == 1
    assert "in[2]@11: no example" in caplog.text
    assert all(len(line) < 800 for line in caplog.text.splitlines())


@pytest.mark.parametrize("share", [0.5, 0.3, 0.01])
def test_a_sample_stands_for_all(share: float) -> None:
    """The share is met within five standard deviations, and its weights add up to all requests."""
    total = 20_000
    made = Work(share).make(*(good(f"r{n}") for n in range(total)))
    kept = len(made.examples)
    assert abs(kept - share * total) < 5 * np.sqrt(total * share * (1 - share))
    assert {example.weight for example in read(made)} == {1 / share}
    assert (made.left_out, made.refused) == (total - kept, 0)


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(deadline=None)
@given(
    st.lists(ids, max_size=40),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 40),
)
def test_the_sample_depends_on_the_id_and_the_share_alone(
    names: list[str], one: float, other: float, cut: int
) -> None:
    """However the stream is cut, the same ids are kept, and a smaller share keeps a subset."""
    rows = [good(name, NOW + n) for n, name in enumerate(names)]
    low, high = sorted((one, other))
    few, many = Work(low), Work(high)
    sample = few.make(*rows).examples
    apart = [*few.make(*rows[:cut]).examples, *few.make(*rows[cut:]).examples]
    assert [(r.key, r.value) for r in sample] == [(r.key, r.value) for r in apart]
    assert {r.key for r in sample} <= {r.key for r in many.make(*rows).examples}


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
def test_no_record_ends_the_maker(bad: list[Row]) -> None:
    """Arbitrary values, timestamps and headers are refused beside a good request."""
    work = Work()
    made = work.make(*bad, (bid("good"), NOW, [("weir", b"x"), DECISION.to_header()]))
    assert [example.request_id for example in read(made)] == ["good"]
    assert work.refused() == made.refused == len(bad)
