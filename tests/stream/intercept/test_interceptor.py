"""The interceptor on a tiny artifact whose scores are known by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.artifact import load_artifact
from models.artifact.scorer import ScoringError
from models.features import FeatureSpec
from models.settings import PolicySettings
from models.tasks import TaskSet
from stream.intercept.candidates import Candidate
from stream.intercept.challengers import Challenger
from stream.intercept.interceptor import Intercepted, Interceptor
from stream.intercept.loaded_model import LoadedModel
from stream.intercept.metrics import NoMetrics
from stream.messages import DeadLetter, Decision, Headers, ModelRole, Reason, RejectCode
from stream.messages.dead_letter import MAX_TRUNCATED_BYTES
from stream.policy import Policy
from stream.transport import FetchedRecord
from tests.tiny_artifact import SPEC_TEXT, TASKS, Make, tiny_student

LIMIT = 2000
POLICY = PolicySettings(rate=0.5, weights={"click": 1.0}, direct_share=0.1, explore=0.2)


class Input(NamedTuple):
    """A consumed record."""

    offset: int
    value: bytes | None
    key: bytes | None = b"k"
    timestamp: int = 1_700_000_000_000
    headers: Headers = ()
    topic: str = "requests"
    partition: int = 3


@pytest.fixture
def model(make_artifact: Callable[..., Path]) -> LoadedModel:
    return LoadedModel(load_artifact(make_artifact()), threads=1, batch=64)


def fresh(model: LoadedModel | None, tasks: LoadedModel) -> Interceptor:
    interceptor = Interceptor(
        Policy(POLICY.model_copy(update={"uncertainty_source": "own"}), tasks.tasks),
        NoMetrics(),
        max_value_bytes=LIMIT,
    )
    interceptor.model = model
    return interceptor


def request(number: int, site: str = "s") -> bytes:
    return orjson.dumps({"id": f"r{number}", "imp": [{}], "site": {"id": site}})


def test_each_output_names_its_source(model: LoadedModel) -> None:
    """By index among the input records, and by offset."""
    records = [Input(100 + 3 * n, request(n) if n % 5 else b"?") for n in range(40)]
    result = fresh(model, model).intercept(records)
    for outputs, at in (
        (result.passed, result.passed_at),
        (result.blocked, result.blocked_at),
        (result.rejected, result.rejected_at),
    ):
        assert [out.source for out in outputs] == [records[n].offset for n in at.tolist()]
        assert [out.value for out in outputs] == [records[n].value for n in at.tolist()]
    found = [*result.passed_at, *result.blocked_at, *result.rejected_at]
    assert sorted(found) == list(range(40))


def summary(result: Intercepted) -> list[list[tuple[bytes | None, bytes | None, Headers]]]:
    return [
        [(record.key, record.value, record.headers) for record in records]
        for records in (result.passed, result.blocked, result.rejected)
    ]


def test_every_record_comes_out_once_with_its_own_bytes(model: LoadedModel) -> None:
    """Key, value, timestamp and foreign headers stay; the weir header names the source offset."""
    records = [
        Input(100 + i, request(i, site=f"s{i % 7}"), key=b"%d" % i, headers=(("x", b"1"),))
        for i in range(400)
    ]
    result = fresh(model, model).intercept(records)
    out = sorted(result.passed + result.blocked, key=lambda r: int(r.key or b""))
    assert [(r.key, r.value, r.timestamp) for r in out] == [
        (r.key, r.value, r.timestamp) for r in records
    ]
    decisions = [Decision.from_headers(r.headers) for r in out]
    assert [d.offset for d in decisions] == [r.offset for r in records]
    assert all(r.headers[0] == ("x", b"1") for r in out)
    assert {d.model for d in decisions} == {"v1"}
    assert {d.reason for d in decisions} >= {Reason.SCORE, Reason.EXPLORE}
    assert len(result.blocked) == pytest.approx(200, abs=10)


def test_rejects_carry_code_message_and_coordinates(model: LoadedModel) -> None:
    """A bad record takes the dead-letter way without disturbing its neighbours."""
    records = [
        Input(7, request(0)),
        Input(8, b"{oops"),
        Input(9, None),
        Input(11, b'{"id":"a","imp":[{}],"pad":"' + b"x" * LIMIT + b'"}'),
        Input(12, request(1)),
    ]
    result = fresh(model, model).intercept(records)
    assert len(result.passed) + len(result.blocked) == 2
    letters = [DeadLetter.from_headers(record.headers) for record in result.rejected]
    assert [(letter.code, letter.offset) for letter in letters] == [
        (RejectCode.INVALID_JSON, 8),
        (RejectCode.TOMBSTONE, 9),
        (RejectCode.TOO_LARGE, 11),
    ]
    assert result.reject_codes == [letter.code for letter in letters]
    assert {(letter.topic, letter.partition) for letter in letters} == {("requests", 3)}
    assert all(letter.message for letter in letters)
    assert result.rejected[0].value == b"{oops"
    assert result.rejected[1].value is None


def test_a_request_without_a_time_is_scored_at_its_records() -> None:
    """Rejects between requests do not shift the records' timestamps, which features take."""
    shipped = LoadedModel(load_artifact("pretrained:openrtb"), threads=1, batch=64)
    values = [request(0), b"{oops", request(1), b'{"id":"half","imp":[{}],"x":"\\ud83d"}']
    stamps = [1_767_268_800_000 + hours * 3_600_000 for hours in (0, 1, 2, 9)]
    records = [
        Input(n, v, timestamp=at) for n, (v, at) in enumerate(zip(values, stamps, strict=True))
    ]
    scored = fresh(shipped, shipped).intercept(records).scored
    assert scored is not None
    docs = [orjson.loads(value) for value in (values[0], values[2], b'{"id":"half","imp":[{}]}')]
    for times_N, same in ((np.array(stamps)[[0, 2, 3]], True), (np.full(3, stamps[0]), False)):
        ids_NC = shipped.extractor.extract(docs, times_N)
        scores_NT = shipped.scorer.score(ids_NC)[0]
        assert np.array_equal(scored.scores_NT, scores_NT) == same


def test_a_value_too_large_for_the_brokers_is_cut(model: LoadedModel) -> None:
    """The dead letter keeps the beginning, and says how long the value was."""
    value = b'{"id":"a","imp":[{}],"pad":"' + b"x" * 5_000_000 + b'"}'
    (letter,) = fresh(model, model).intercept([Input(1, value)]).rejected
    assert letter.value is not None
    assert len(letter.value) <= LIMIT
    assert value.startswith(letter.value)
    assert DeadLetter.from_headers(letter.headers).truncated_from == len(value)


def test_without_a_model_everything_passes_and_says_so(model: LoadedModel) -> None:
    """Fail open: requests pass with reason fail-open, broken records are still rejected."""
    result = fresh(None, model).intercept([Input(0, request(0)), Input(1, b"["), Input(2, b"")])
    (passed,) = result.passed
    decision = Decision.from_headers(passed.headers)
    assert decision == Decision("", None, None, Reason.FAIL_OPEN, 1.0, 0)
    assert (len(result.blocked), len(result.rejected), result.scored) == (0, 2, None)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(cuts=st.lists(st.integers(0, 300), max_size=12), seed=st.integers(0, 5))
def test_decisions_do_not_depend_on_the_cutting(
    model: LoadedModel, cuts: list[int], seed: int
) -> None:
    """However the stream is cut into chunks, every record goes the same way for the same reason."""
    rng = np.random.default_rng(seed)
    records: list[FetchedRecord] = [
        Input(i, request(i, site=f"s{rng.integers(40)}") if rng.random() > 0.05 else b"?")
        for i in range(300)
    ]
    whole = summary(fresh(model, model).intercept(records))
    interceptor = fresh(model, model)
    edges = sorted({0, *cuts, len(records)})
    pieces = [summary(interceptor.intercept(records[a:b])) for a, b in itertools.pairwise(edges)]
    assert [list(itertools.chain(*ways)) for ways in zip(*pieces, strict=True)] == whole


SICK_SITE = "sick"
POISON = int(
    FeatureSpec.parse(SPEC_TEXT, "t")
    .extractor()
    .extract([{"site": {"id": SICK_SITE}}], np.zeros(1, np.int64))[0, 0]
)


def failing(make_artifact: Make, version: str) -> LoadedModel:
    """A model whose uncertainties are NaN for one site."""
    student = tiny_student(poison=POISON).SerializeToString()
    folder = make_artifact(version, onnx_bytes=student, version=version)
    return LoadedModel(load_artifact(folder), threads=1, batch=64)


def sick_chunk(start: int) -> list[Input]:
    """Good requests, broken ones, and one that the failing model cannot score."""
    values = [request(start + n, f"s{n}") for n in range(40)]
    values[7], values[9] = b"{broken", None
    values[20] = request(start + 20, SICK_SITE)
    return [Input(start + n, value) for n, value in enumerate(values)]


def test_a_model_that_fails_is_replaced_for_the_same_chunk(
    model: LoadedModel, make_artifact: Make
) -> None:
    """The one before decides the chunk as if it had served all along: nothing lost or doubled."""
    told: list[str] = []

    def back(failed: LoadedModel, error: Exception) -> LoadedModel:
        told.append(f"{failed.version}: {error}")
        return model

    interceptor, steady = fresh(model, model), fresh(model, model)
    interceptor._on_failure = back
    chunks = [[Input(n, request(n, f"s{n}")) for n in range(40)], sick_chunk(40), sick_chunk(80)]
    for number, chunk in enumerate(chunks):
        if number == 1:
            interceptor.model = failing(make_artifact, "v2")
        assert summary(interceptor.intercept(chunk)) == summary(steady.intercept(chunk))
    assert len(told) == 1
    assert told[0].startswith("v2: ")
    assert "uncertainty that is not in" in told[0]
    assert interceptor.model is model


def test_with_no_model_before_it_everything_passes(model: LoadedModel, make_artifact: Make) -> None:
    """The chunk at which the only model fails passes whole, but for its dead letters."""
    interceptor = fresh(failing(make_artifact, "v2"), model)
    interceptor._on_failure = lambda _model, _error: None
    result = interceptor.intercept(sick_chunk(0))
    assert (len(result.passed), len(result.blocked), len(result.rejected)) == (38, 0, 2)
    reasons = {Decision.from_headers(record.headers).reason for record in result.passed}
    assert reasons == {Reason.FAIL_OPEN}
    assert interceptor.model is None


def test_without_anyone_to_take_over_a_failure_is_an_error(make_artifact: Make) -> None:
    """A replay with a model that fails ends with what went wrong."""
    model = failing(make_artifact, "v2")
    with pytest.raises(ScoringError, match="v2"):
        fresh(model, model).intercept(sick_chunk(0))


def test_recent_ids_are_those_of_the_newest_chunk(model: LoadedModel) -> None:
    """With the hash of their spec: what a candidate is tried on."""
    interceptor = fresh(model, model)
    assert interceptor.recent is None
    result = interceptor.intercept([Input(n, request(n)) for n in range(5)])
    assert interceptor.recent is not None
    spec_hash, ids_NC = interceptor.recent
    assert (spec_hash, ids_NC.shape) == (model.spec_hash, (len(result.decided), 3))


def test_a_chunk_of_rejects_proves_nothing(model: LoadedModel) -> None:
    """A model is proven by a request, and the recent ids outlive a chunk without one."""
    interceptor = fresh(model, model)
    interceptor.intercept([Input(0, None), Input(1, b"{broken")])
    assert not model.proven
    assert interceptor.recent is None
    interceptor.intercept([Input(2, request(2))])
    before = interceptor.recent
    interceptor.intercept([Input(3, b"[]")])
    assert model.proven
    assert interceptor.recent is before


@given(
    key=st.none() | st.integers(0, 300_000).map(bytes),
    value=st.none() | st.integers(0, 300_000).map(bytes),
    headers=st.lists(
        st.tuples(st.text(max_size=40), st.none() | st.integers(0, 9_000).map(bytes)), max_size=40
    ),
)
def test_a_cut_dead_letter_is_short_and_says_so(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """A tombstone's key and headers are cut like any other's: else it would be cut for ever."""
    policy = Policy(POLICY.model_copy(update={"uncertainty_source": "own"}), TaskSet(TASKS))
    interceptor = Interceptor(policy, NoMetrics(), max_value_bytes=LIMIT)
    letter = interceptor.oversized(Input(7, value, key, headers=headers), 2_000_000, 1_000_000)
    stated = DeadLetter.from_headers(letter.headers)
    size = len(letter.key or b"") + len(letter.value or b"")
    size += sum(len(name.encode()) + len(content or b"") for name, content in letter.headers)
    assert size <= MAX_TRUNCATED_BYTES
    assert stated.truncated_from == (-1 if value is None else len(value))
    assert (letter.value is None) == (value is None)


def test_a_canary_decides_where_the_caller_says_so(make_artifact: Make, model: LoadedModel) -> None:
    """Its version is in the headers of these; without one the serving model decides."""
    interceptor = fresh(model, model)
    records = [Input(n, request(n, f"s{n % 7}")) for n in range(50)]
    assert versions(interceptor.intercept(records, by_canary=True)) == {"v1"}
    other = LoadedModel(load_artifact(make_artifact("two", version="v2")), threads=1, batch=64)
    candidate = Candidate("registry/v2", "v2", "0" * 64)
    interceptor.canary = Challenger(candidate, ModelRole.CANARY, 0.5, other)
    assert versions(interceptor.intercept(records, by_canary=True)) == {"v2"}
    assert versions(interceptor.intercept(records)) == {"v1"}
    assert [interceptor.version_of(n) for n in range(4)] == ["v2", "v1", "v2", "v1"]


def test_a_canary_that_fails_is_replaced_for_the_same_records(
    make_artifact: Make, model: LoadedModel
) -> None:
    """The serving model decides them, each once, and stays in service."""
    bad = tiny_student(poison=5).SerializeToString()
    artifact = load_artifact(make_artifact("two", version="v2", onnx_bytes=bad))
    other = LoadedModel(artifact, threads=1, batch=64)
    failed: list[LoadedModel] = []
    records = [Input(n, request(n, f"s{n}")) for n in range(200)]

    def fail(broken: LoadedModel, _error: Exception) -> LoadedModel | None:
        failed.append(broken)
        interceptor.canary = None
        return model

    interceptor = Interceptor(
        Policy(POLICY.model_copy(update={"uncertainty_source": "own"}), model.tasks),
        NoMetrics(),
        max_value_bytes=LIMIT,
        on_failure=fail,
    )
    interceptor.model = model
    candidate = Candidate("registry/v2", "v2", "0" * 64)
    interceptor.canary = Challenger(candidate, ModelRole.CANARY, 0.5, other)
    result = interceptor.intercept(records, by_canary=True)
    assert failed == [other]
    assert interceptor.model is model
    assert versions(result) == {"v1"}
    assert len(result.passed) + len(result.blocked) == 200


def versions(result: Intercepted) -> set[str]:
    return {Decision.from_headers(out.headers).model for out in (*result.passed, *result.blocked)}
