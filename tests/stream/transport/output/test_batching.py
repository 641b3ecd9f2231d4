"""Batches of records with any envelope and codec keep to their size and are read back unchanged."""

from types import SimpleNamespace

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from models.settings import Settings
from models.tasks import DEFAULT_TASKS, TaskSet
from stream.intercept.interceptor import Interceptor
from stream.intercept.metrics import NoMetrics
from stream.kafka.batches import CODECS
from stream.policy import Policy
from stream.transport import Outgoing, RecordTooLargeError
from stream.transport.output.batching import MAX_BATCH_BYTES, build_batches
from stream.verify.account import Fate
from stream.verify.evidence import input_hashes, output_evidence
from tests.stream.kafka.batches.fetched import Row, batch, read, reader, row_of

PRODUCER = SimpleNamespace(_txn_manager=None)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 2**63 - 1])
CONTENT = st.none() | st.binary(max_size=40)
NAMES = st.binary(max_size=12) | st.sampled_from([b"weir", b"weir-offset", b"weirdo", b"seq"])
HEADERS = st.lists(st.tuples(NAMES, CONTENT), max_size=6)
VALUES = CONTENT | st.sampled_from([b'{"id":"r1","imp":[{}]}', b'{"id":"r2","imp":[{"id":"1"}]}'])
ROWS = st.lists(st.tuples(INT64, CONTENT, VALUES, HEADERS), min_size=1, max_size=12)


def written(records: list, codec: str = "none", batch_bytes: int = MAX_BATCH_BYTES) -> list[bytes]:
    return [
        bytes(b._build()) for b in build_batches(PRODUCER, "out", 0, records, batch_bytes, codec)
    ]


def after(batches: list[bytes]) -> list:
    """The records that are read from batches."""
    return [record for data in batches for record in read(data)]


@given(rows=ROWS, codec=st.sampled_from(list(CODECS)))
def test_what_is_read_and_written_again_is_the_same(rows: list[Row], codec: str) -> None:
    found = read(batch(rows))
    again = after(written(found, codec))
    assert [row_of(record) for record in again] == rows


@given(rows=ROWS, codec=st.sampled_from(list(CODECS)))
def test_a_request_goes_through_with_any_envelope(rows: list[Row], codec: str) -> None:
    """Read, intercepted, written and read again: the same, but for headers with Weir's names."""
    policy = Policy(Settings().policy, TaskSet(DEFAULT_TASKS))
    interceptor = Interceptor(policy, NoMetrics(), max_value_bytes=1024)
    sources = read(batch(rows, codec=codec))
    result = interceptor.intercept(sources)
    for fate, outputs, places, added in (
        (Fate.PASSED, result.passed, result.passed_at, 1),
        (Fate.REJECTED, result.rejected, result.rejected_at, 5),
    ):
        found = after(written(outputs, codec)) if outputs else []
        for record, place in zip(found, places.tolist(), strict=True):
            timestamp, key, value, headers = rows[place]
            own = [h for h in headers if h[0] != b"weir" and not h[0].startswith(b"weir-")]
            assert row_of(record)[:3] == (timestamp, key, value)
            assert row_of(record)[3][:-added] == own
            record.topic, record.partition = "out", 3
            evidence = output_evidence(fate, "requests", record)
            assert (evidence.source, evidence.cut) == (place, False)
            assert evidence.content == input_hashes(sources[place])[1]


def test_a_first_timestamp_of_minus_one_stays_though_others_follow() -> None:
    """Aiokafka's builder treats -1 as a missing timestamp and uses another base for the deltas."""
    records = [Outgoing(None, b"%d" % n, stamp) for n, stamp in enumerate([-1, 5, -1, 7])]
    assert [record.timestamp for record in after(written(records))] == [-1, 5, -1, 7]


@pytest.mark.parametrize("codec", CODECS)
def test_compressed_batches_can_be_read_by_any_client(codec: str) -> None:
    records = [Outgoing(b"k", b'{"id":"r%d"}' % n * 20, n, [("h", b"v")]) for n in range(500)]
    (data,) = written(records, codec)
    theirs = DefaultRecordBatch(data)
    assert theirs.compression_type == CODECS[codec]
    assert theirs.validate_crc()
    assert [record.value for record in theirs] == [record.value for record in records]


def test_a_batch_that_compression_would_not_shrink_is_not_compressed() -> None:
    (data,) = written([Outgoing(None, b"\x93", 1)], "gzip")
    assert DefaultRecordBatch(data).compression_type == 0


@pytest.mark.parametrize("name", ["h", "not utf-8"])
def test_batches_keep_to_their_size_before_compression(name: str) -> None:
    raw = b"h" if name == "h" else b"\xff"
    rows: list[Row] = [(n, b"k", bytes(1000), [(raw, None)]) for n in range(100)]
    records = read(batch(rows))
    batches = written(records, "zstd", batch_bytes=20_000)
    assert len(batches) == 6
    assert [row_of(record) for record in after(batches)] == rows
    with pytest.raises(RecordTooLargeError, match=r"records \[1\]"):
        written([records[0], Outgoing(None, bytes(30_000), 1)], batch_bytes=20_000)


def test_all_records_that_are_too_large_are_named_at_once() -> None:
    """Otherwise a chunk with a thousand of them would be batched a thousand times."""
    sizes = [10, 30_000, 10, 40_000, 10]
    with pytest.raises(RecordTooLargeError, match=r"records \[1, 3\]") as caught:
        written([Outgoing(None, bytes(size), 1) for size in sizes], batch_bytes=20_000)
    error = caught.value
    assert [error.sizes[index] // 10_000 for index in error.indices] == [3, 4]
    assert error.within(2, 5).sizes == {1: error.sizes[3]}
    assert error.within(4, 5).indices == ()


def test_batches_of_a_transactional_producer_are_marked() -> None:
    producer = SimpleNamespace(_txn_manager=SimpleNamespace(transactional_id="mine"))
    rows: list[Row] = [(-1, None, b"v", [(b"\xff", None)])]
    for records in (read(batch(rows)), [Outgoing(None, b"v" * 500, 1)]):
        (made,) = build_batches(producer, "out", 0, records, MAX_BATCH_BYTES, "lz4")
        made._set_producer_state(producer_id=7, producer_epoch=2, base_sequence=3)
        theirs = DefaultRecordBatch(bytes(made._build()))
        assert theirs.is_transactional
        assert (theirs.producer_id, theirs.producer_epoch, theirs.base_sequence) == (7, 2, 3)
        assert reader(bytes(made._build()))[0].take(5)
