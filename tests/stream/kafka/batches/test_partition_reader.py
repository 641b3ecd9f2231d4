"""What is decoded from batches, whoever wrote them."""

import gc
import gzip
import resource
import struct
import weakref
from pathlib import Path

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bounds import MAX_BAD_RECORDS, MAX_HEADERS
from stream.kafka.batches import (
    CODECS,
    CorruptBatchError,
    RefusedBatch,
    compress,
)
from tests.stream.kafka.batches.fetched import (
    Fetched,
    Row,
    batch,
    body,
    frame,
    payload_of,
    read,
    reader,
    row_of,
    sized,
    varint,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
CONTENT = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.binary(max_size=12), CONTENT), max_size=6)
ROWS = st.lists(st.tuples(INT64, CONTENT, CONTENT, HEADERS), min_size=1, max_size=12)
GOOD: list[Row] = [(1000 + i, b"k", b"v%d" % i, [(b"seq", b"%d" % i)]) for i in range(10)]


@given(st.lists(st.tuples(ROWS, st.sampled_from(list(CODECS))), min_size=1, max_size=4),
       st.integers(1, 9))  # fmt: skip
def test_every_record_comes_out_as_it_was_written_whatever_its_envelope_and_codec(
    batches: list[tuple[list[Row], str]], most: int
) -> None:
    data, wanted, base = b"", [], 5
    for rows, codec in batches:
        data += batch(rows, base, codec)
        wanted += rows
        base += len(rows)
    reading, refused = reader(data, start=5)
    found = []
    while not reading.exhausted:
        found += reading.take(most)
    assert [row_of(record) for record in found] == wanted
    assert [record.offset for record in found] == list(range(5, base))
    assert reading.next_fetch_offset == base
    assert not refused


@given(
    rows=ROWS,
    junk=st.binary(min_size=1, max_size=300),
    at=st.integers(0, 400),
    replace=st.booleans(),
)
def test_what_is_between_good_batches_never_hides_them(
    rows: list[Row], junk: bytes, at: int, *, replace: bool
) -> None:
    payload = payload_of(rows)
    at %= len(payload)
    broken = payload[:at] + junk + payload[at + (len(junk) if replace else 0) :]
    middle = frame(broken, base=10, count=len(rows), first=rows[0][0])
    after = 10 + len(rows)
    reading, refused = reader(batch(GOOD, 0) + middle + batch(GOOD, after))
    found = []
    while not reading.exhausted:
        found += reading.take(3)
    offsets = [record.offset for record in found]
    assert [row_of(record) for record in found if record.offset < 10] == GOOD
    assert [row_of(record) for record in found if record.offset >= after] == GOOD
    assert offsets == sorted(set(offsets))
    assert reading.next_fetch_offset == after + 10
    for batch_refused in refused:
        assert 10 <= batch_refused.offset <= batch_refused.last_offset < after


@given(st.sampled_from([name for name in CODECS if name != "none"]), st.binary(max_size=200))
def test_a_payload_that_does_not_unpack_is_refused_in_its_place(codec: str, junk: bytes) -> None:
    middle = frame(b"\xff" + junk, base=10, count=4, newest=77, attributes=CODECS[codec])
    found = read(batch(GOOD, 0, codec) + middle + batch(GOOD, 14, codec))
    (refused,) = (record for record in found if isinstance(record, RefusedBatch))
    assert (refused.offset, refused.last_offset, refused.timestamp) == (10, 13, 77)
    assert (refused.value, refused.key, refused.headers) == (middle, None, ())
    assert codec in refused.reason
    assert str(refused).startswith("requests[3]@10..13: ")
    assert [row_of(r) for r in found if r is not refused] == [*GOOD, *GOOD]


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "none"])
def test_a_batch_that_unpacks_to_300_mb_is_refused_within_its_bound_of_memory(codec: str) -> None:
    packed = _packed_zeros(codec, 300 * 1024 * 1024)
    bomb = frame(packed, base=10, count=4, attributes=CODECS[codec])
    reading, refused = reader(batch(GOOD) + bomb + batch(GOOD, 14), limit=16_000_000)
    before = _resident_kb()
    offsets = [record.offset for record in iter(reading)]
    assert _resident_kb() - before < 40_000
    assert offsets == [*range(11), *range(14, 24)]
    assert refused[0].reason == f"{codec}: unpacks to more than kafka.max_unpacked_bytes = 16000000"


def _packed_zeros(codec: str, size: int) -> bytes:
    pack = {
        "gzip": gzip.compress,
        "snappy": cramjam.snappy.compress_raw,
        "lz4": cramjam.lz4.compress,
        "zstd": cramjam.zstd.compress,
    }
    return bytes(pack[codec](bytes(size)))


def _resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


@pytest.mark.parametrize("number", [5, 6, 7])
def test_an_unknown_codec_is_refused(number: int) -> None:
    found = read(frame(b"whatever", base=3, count=2, attributes=number) + batch(GOOD, 5))
    assert isinstance(found[0], RefusedBatch)
    assert found[0].reason.startswith(f"codec {number} is unknown")
    assert [record.offset for record in found] == [3, *range(5, 15)]


def test_refused_batches_are_skipped_unless_they_are_to_be_kept() -> None:
    data = frame(b"\xff", base=0, count=4, attributes=CODECS["zstd"]) + batch(GOOD, 4)
    reading, refused = reader(data, keep=False)
    assert [record.offset for record in reading.take(100)] == list(range(4, 14))
    assert [(batch.offset, batch.last_offset) for batch in refused] == [(0, 3)]


def test_a_bad_record_is_refused_alone_where_its_length_is_known() -> None:
    bodies = [body(delta, row, GOOD[0][0]) for delta, row in enumerate(GOOD)]
    bodies[4] = b"\0" + varint(0) + varint(4) + varint(99) + b"short"
    data = frame(b"".join(map(sized, bodies)), base=0, count=10, first=1000, newest=1009)
    found = read(data)
    assert [record.offset for record in found] == list(range(10))
    assert isinstance(found[4], RefusedBatch)
    assert (found[4].last_offset, found[4].value) == (4, bodies[4])
    assert [row_of(record) for record in found if record is not found[4]] == GOOD[:4] + GOOD[5:]


def test_a_record_with_an_offset_of_another_batch_is_refused_in_its_place() -> None:
    places = [0, 1, 7, 3, 3, 99, 6, -5, 8, 9]
    bodies = [body(place, row, GOOD[0][0]) for place, row in zip(places, GOOD, strict=True)]
    data = frame(b"".join(map(sized, bodies)), base=50, count=10, first=1000, newest=1009)
    found = read(data + batch(GOOD, 60), start=50, most=100)
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets))
    assert offsets[-10:] == list(range(60, 70))
    refused = [record for record in found if isinstance(record, RefusedBatch)]
    assert all(50 <= batch.offset <= batch.last_offset < 60 for batch in refused)
    assert refused


def test_compaction_leaves_gaps() -> None:
    bodies = [body(place, (5, b"k", b"v", []), 5) for place in (1, 4, 5)]
    data = frame(b"".join(map(sized, bodies)), base=10, count=3, first=5, last_delta=8)
    reading, refused = reader(data)
    assert [record.offset for record in reading.take(100)] == [11, 14, 15]
    assert reading.next_fetch_offset == 19
    assert not refused


def test_reading_begins_in_the_middle_of_a_batch() -> None:
    for codec in CODECS:
        assert [r.offset for r in read(batch(GOOD, 20, codec), start=26)] == [26, 27, 28, 29]


def test_ordinary_batches_are_read_by_aiokafkas_compiled_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.kafka.batches.partition_reader.read_records", None)
    data = b"".join(batch(GOOD, 10 * n, codec) for n, codec in enumerate(CODECS))
    for most in (1, 3, 10, 1000):
        assert len(read(data, start=5, most=most)) == 45


def test_a_refused_batch_begins_where_reading_does() -> None:
    found = read(frame(b"\xff", base=0, count=9, attributes=CODECS["lz4"]), start=4)
    assert [(r.offset, r.last_offset) for r in found if isinstance(r, RefusedBatch)] == [(4, 8)]


def test_with_log_append_time_all_records_have_the_brokers() -> None:
    rows = [(5, b"k", b"v", []), (9, b"k", b"v", [(b"\xff", None)])]
    data = frame(payload_of(rows), base=0, count=2, first=5, newest=777, attributes=8)
    assert [(r.timestamp, r.timestamp_type) for r in read(data)] == [(777, 1), (777, 1)]


def test_a_record_of_a_million_headers_is_refused_before_they_are_made() -> None:
    million = [(b"", None)] * 1_000_000
    rows: list[Row] = [(1, None, b"a", []), (1, None, b"b", million), (1, None, b"c", [])]
    found = read(batch(rows, codec="zstd"))
    assert [record.offset for record in found] == [0, 1, 2]
    assert isinstance(found[1], RefusedBatch)
    assert f"at most {MAX_HEADERS}" in found[1].reason


def test_what_is_delivered_at_a_time_is_bounded_by_records_and_bytes() -> None:
    rows: list[Row] = [(1, None, bytes(1000), [])] * 500
    data = b"".join(batch(rows, 500 * n, "zstd") for n in range(20))
    reading, _ = reader(data, room=1_200_000)
    assert len(reading.take(100)) == 100
    assert len(reading.take(None)) == 1400  # the rest of the batch, and two more
    many: list[Row] = [(1, None, b"", [(b"", None)] * 20_000)] * 10
    data = b"".join(batch(many, 10 * n, "zstd") for n in range(2))
    reading, _ = reader(data, room=1_200_000)
    assert len(reading.take(None)) == 10
    long: list[Row] = [(1, None, b"", [(b"", None)] * 60_000)] * 20
    reading, refused = reader(batch(long, codec="zstd"), room=8_000_000, limit=16_000_000)
    assert len(reading.take(2000)) == 8  # of 120 kB each: 480,000 headers
    assert len(list(reading)) == 12
    assert not refused
    tiny: list[Row] = [(1, None, None, [])] * 60_000
    reading, _ = reader(batch(tiny, codec="gzip"))
    assert len(reading.take(None)) == 10_000


def test_a_wrong_checksum_names_the_batch_and_loses_nothing_before_it() -> None:
    broken = bytearray(batch(GOOD, 10))
    broken[-1] ^= 1
    reading, _ = reader(batch(GOOD) + bytes(broken) + batch(GOOD, 20))
    assert [record.offset for record in reading.take(100)] == list(range(10))
    with pytest.raises(CorruptBatchError, match=r"requests\[3\]@10\.\.19: the checksum"):
        reading.take(100)
    assert reading.exhausted
    assert reading.next_fetch_offset == 10  # it is fetched again


@pytest.mark.parametrize("count", [-(2**31), -1, 0, 1, 9, 11, 2**31 - 1])
@pytest.mark.parametrize("last_delta", [-(2**31), -1, 0, 5, 9, 2**31 - 1])
def test_a_header_with_other_numbers_than_there_are_records(count: int, last_delta: int) -> None:
    """Reading continues after the offsets that the header covers."""
    strange = frame(payload_of(GOOD), base=5, count=count, first=1000, last_delta=last_delta)
    after = 5 + max(last_delta, 0) + 1
    found = read(strange + batch(GOOD, after), start=5)
    assert [row_of(record) for record in found[-10:]] == GOOD
    assert [record.offset for record in found[-10:]] == list(range(after, after + 10))
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets))


def test_a_batch_that_is_cut_off_waits_for_the_next_fetch() -> None:
    data = batch(GOOD) + batch(GOOD, 10)[:-1]
    assert len(read(data)) == 10


@pytest.mark.parametrize("junk", [b"", b"\0", b"\0" * 60, b"\xff" * 200, bytes(range(256))])
def test_bytes_that_are_no_batches_end_the_reading(junk: bytes) -> None:
    assert [record for record in read(junk) if not isinstance(record, RefusedBatch)] == []


def test_a_batch_of_an_unknown_format_is_refused() -> None:
    strange = bytearray(batch(GOOD, 0))
    struct.pack_into(">b", strange, 16, 9)
    found = read(bytes(strange) + batch(GOOD, 10))
    assert isinstance(found[0], RefusedBatch)
    assert found[0].reason == "batch format 9 is unknown"
    assert [record.offset for record in found[1:]] == list(range(10, 20))


def test_an_exhausted_reader_is_freed_without_the_garbage_collector() -> None:
    """What was fetched is freed at once: in a worker the collector runs once in many chunks."""
    gc.disable()
    try:
        for data in (batch([(1, None, b"v", [])]), batch([(1, None, b"v", [(b"\xff", None)])])):
            reading, _ = reader(data)
            assert reading.take(10)
            assert reading.exhausted
            gone = weakref.ref(reading)
            del reading
            assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("keep", [True, False])
def test_a_batch_of_broken_records_is_refused_in_so_many_pieces_at_most(keep: bool) -> None:
    """1.6 KB unpack to 100,000 records without an end; what is behind the batch is read."""
    broken = frame(compress("zstd", b"\2\0" * 100_000), base=0, count=100_000, attributes=4)
    sound = batch([(1, b"k", b"v", [])], base=100_000)
    reading, refused = reader(broken + sound, keep=keep)
    found: list[Fetched] = []
    while not reading.exhausted:
        found += reading.take(500)
    assert found[-1].value == b"v"
    assert len(refused) == MAX_BAD_RECORDS
    assert len(found) == 1 + keep * MAX_BAD_RECORDS
    assert (refused[-1].offset, refused[-1].last_offset) == (MAX_BAD_RECORDS - 1, 99_999)
    assert reading.next_fetch_offset == 100_001
