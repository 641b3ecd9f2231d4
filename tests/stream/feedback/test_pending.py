"""Encoding of the join's records and state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.feedback.pending import (
    PROGRESS_KEY,
    HeldOutcomes,
    PendingRequest,
    Progress,
    check_entry,
    event_time,
    status,
    tasks_digest,
    with_status,
)
from stream.messages import Decision, Reason, RecordError

TIMES = st.integers(0, bounds.MAX_TIME_MS)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def requests(draw: st.DrawFn) -> PendingRequest:
    small = draw(st.booleans())
    ids = draw(st.lists(st.integers(0, 2**16 - 1 if small else 2**31 - 1), max_size=130))
    return PendingRequest(
        ts=draw(TIMES),
        partition=draw(st.integers(0, bounds.MAX_PARTITION)),
        offset=draw(st.integers(0, 2**63 - 1)),
        spec=draw(st.text(max_size=20)),
        decision=Decision(
            draw(st.text(max_size=bounds.MAX_VERSION)),
            draw(st.none() | FINITE),
            draw(st.none() | FINITE),
            draw(st.sampled_from(Reason)),
            draw(st.floats(0, 1, exclude_min=True)),
            draw(st.integers(0, 2**63 - 1)),
        ),
        features=np.asarray(ids, np.uint16 if small else np.int32),
        hits=draw(st.integers(0, 2**32 - 1)),
        tasks=draw(st.integers(0, 2**32 - 1)),
        halvings=draw(st.integers(0, bounds.MAX_HALVINGS)),
    )


def fields(request: PendingRequest) -> list[object]:
    return [
        *(request.ts, request.partition, request.offset, request.spec, request.decision),
        *(request.hits, request.tasks, request.halvings, request.features.tolist()),
    ]


@given(requests(), st.integers(0, 2**32 - 1))
def test_a_pending_request_comes_back_as_it_was(request: PendingRequest, hits: int) -> None:
    """Every field survives, and the status can be read and changed without reading the rest."""
    raw = request.to_bytes()
    assert fields(PendingRequest.from_bytes(raw)) == fields(request)
    check_entry(b"id", raw)
    assert status(raw) == (request.hits, request.tasks, request.halvings)
    assert event_time(raw) == request.ts
    changed = PendingRequest.from_bytes(with_status(raw, hits, 1, 2))
    assert (changed.hits, changed.tasks, changed.halvings) == (hits, 1, 2)
    assert fields(changed)[:5] == fields(request)[:5]
    assert fields(changed)[8] == fields(request)[8]


def test_an_ordinary_request_takes_less_than_four_hundred_bytes() -> None:
    """Of the default spec, with two bytes per feature; as JSON and int32 it took 700."""
    decision = Decision("20260101T000000-0123abcd", 0.125, 0.5, Reason.SCORE, 1.0, 7)
    features = np.zeros(121, np.uint16)
    assert len(PendingRequest(1, 0, 1, "a" * 32, decision, features).to_bytes()) < 400


@given(requests().map(PendingRequest.to_bytes), st.data())
def test_mutated_bytes_are_read_or_refused(raw: bytes, data: st.DataObject) -> None:
    """Whatever happens to its bytes, a request is within bounds or a RecordError."""
    mutated = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(mutated[: data.draw(st.integers(0, len(raw)))])
    for changed in (bytes(mutated), cut):
        try:
            request = PendingRequest.from_bytes(changed)
        except RecordError:
            continue
        assert 0 <= request.ts <= bounds.MAX_TIME_MS
        assert 0 < request.decision.propensity <= 1
        assert request.decision.e is None or np.isfinite(request.decision.e)


@given(st.none() | st.binary(max_size=80), st.none() | st.binary(max_size=300))
def test_any_entry_of_the_changelog_is_read_or_refused(
    key: bytes | None, value: bytes | None
) -> None:
    """Whatever lies on the changelog, the check ends in an answer or a RecordError."""
    for start in (b"", b"P", b"H", b"{"):
        try:
            check_entry(key, None if value is None else start + value)
        except (RecordError, UnicodeDecodeError):
            continue


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"", b"{}"),
        (b"k" * 5000, b"P"),
        (b"a", b"[]"),
        (b"a", b"H\x00"),
        (b"a", HeldOutcomes(1, ((0, 1),) * 65).to_bytes()),
        (PROGRESS_KEY, b'{"watermark": 1e308, "seen": {}}'),
        (PROGRESS_KEY, b'{"watermark": 5, "seen": {"x": [1, 2]}}'),
        (PROGRESS_KEY, b'{"watermark": 5, "seen": {"1": [1]}}'),
        (PROGRESS_KEY, b'{"watermark": 5, "seen": ' + b"[" * 2000),
        (PROGRESS_KEY, b'{"watermark": 18446744073709551616, "seen": {}}'),
    ],
)
def test_entries_that_no_join_wrote_are_refused(key: bytes | None, value: bytes) -> None:
    """Keys, kinds, counts and progress out of bounds."""
    with pytest.raises(RecordError):
        check_entry(key, value)


def test_progress_keeps_to_its_bound() -> None:
    """The number of source partitions is bounded."""
    progress = Progress()
    for partition in range(bounds.MAX_JOIN_SOURCES):
        assert progress.advance(partition, 0, 1)
    with pytest.raises(RecordError, match="partition 5000"):
        progress.advance(5000, 0, 1)
    assert not progress.advance(0, 0, 1)
    assert Progress.from_bytes(progress.to_bytes()) == progress


def test_tasks_are_told_apart_by_name_and_order() -> None:
    """The digest is that of the names in their order."""
    assert tasks_digest(["a", "b"]) != tasks_digest(["b", "a"])
    assert tasks_digest(["ab"]) != tasks_digest(["a", "b"])
