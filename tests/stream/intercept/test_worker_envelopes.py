"""Whatever codec and envelope a request has, it comes out as it was, or as a dead letter."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from models.settings import Settings
from stream.kafka.batches import CODECS
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import DeadLetter, RejectCode
from stream.transport import ChunkSink, Outgoing
from stream.verify.account import Fate, FaultKind
from stream.verify.verifier import account
from tests.stream.intercept.test_worker import (
    publish,
    tiny_settings,  # noqa: F401
    until,
    value,
    worker,
)
from tests.stream.kafka.batches.fetched import Row, batch, frame, payload_of, row_of, send_raw
from tests.tiny_artifact import Make

pytestmark = pytest.mark.broker

#: What anyone may send along with a request; timestamps are in ms.
ENVELOPES: list[Row] = [
    (1_700_000_000_000, b"", value(1), []),
    (-1, None, value(2), []),
    (0, b"key", value(3), [(b"a", None), (b"a", b""), (b"", b"x"), (b"a", b"1")]),
    (1, b"key", value(4), [(b"\xff\xfe", b"not utf-8"), (b"seq", None)]),
    (1_700_000_000_001, b"k" * 200_000, value(5), []),
    (1_700_000_000_002, b"key", value(6), [(b"h%d" % i, b"v") for i in range(5_000)]),
    (1_700_000_000_003, b"key", value(7), [("größe".encode(), b"\xff"), (b"weird", b"stays")]),
    (-1, b"key", value(8), [(b"\xed\xa0\x80", b"a surrogate")]),
    (1_700_000_000_004, b"key", b"\xff{}", [(b"\xff", b"of a dead letter")]),
]


async def everything(settings: Settings) -> AsyncIterator[tuple[str, ConsumerRecord]]:
    topics = settings.topics
    for topic in (topics.passed, topics.blocked, topics.rejected):
        async for record in read_topic(settings.kafka, topic):
            yield topic, record


@pytest.fixture
def small_fetches(tiny_settings: Settings) -> Settings:  # noqa: F811
    """Chunks that end in the middle of batches."""
    return tiny_settings.override({"worker.max_chunk_records": 37})


async def test_all_codecs_are_read_and_written(
    small_fetches: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """Requests packed by each codec come out exactly, packed by each codec."""
    settings = small_fetches.override({"model.artifact": str(make_artifact())})
    wanted = 0
    for at, codec in enumerate(CODECS):
        mine = settings.override({"worker.compression": codec})
        async with worker(mine, tmp_path, codec) as (child, port):
            for with_codec in CODECS:
                await _publish_packed(settings, with_codec, wanted, 100)
                wanted += 100
            done = wanted - 500 * at
            await until(child, port, lambda sample, done=done: sample.requests == done)
            await child.stop()
            assert child.returncode == 0
    found = await account(settings)
    assert found.exact, found.summary()
    assert found.requests == wanted
    assert found.count(Fate.PASSED) + found.count(Fate.BLOCKED) > 0.9 * wanted


async def _publish_packed(settings: Settings, codec: str, start: int, count: int) -> None:
    async with ChunkSink(client_options(settings.kafka), compression=codec) as sink:
        for partition in range(settings.kafka.partitions):
            numbers = range(start + partition, start + count, settings.kafka.partitions)
            rows = [Outgoing(b"%d" % i, value(i), 1_700_000_000_000 + i, ()) for i in numbers]
            await sink.send(settings.topics.requests, partition, rows)


async def test_any_envelope_is_passed_on_byte_for_byte(
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """Keys, headers and timestamps that few producers would send change on no way through."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact())})
    singles = [(batch([row]), 1) for row in ENVELOPES]
    together = (batch(ENVELOPES, codec="zstd"), len(ENVELOPES))
    client = client_options(settings.kafka)
    await send_raw(client, settings.topics.requests, 1, [*singles, together])
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 2 * len(ENVELOPES))
        await child.stop()
        assert child.returncode == 0
    found = await account(settings)
    assert found.exact, found.summary()
    rows = []
    async for topic, record in everything(settings):
        timestamp, key, content, headers = row_of(record)
        added = 5 if topic == settings.topics.rejected else 1
        assert headers[-added][0] in {b"weir", b"weir-error"}
        rows.append((timestamp, key, content, headers[:-added]))
    assert sorted(rows, key=repr) == sorted([*ENVELOPES, *ENVELOPES], key=repr)


async def test_foreign_headers_of_weirs_own_names_are_removed(
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """Downstream finds one header `weir`, the last one, whatever the exchange sent."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact())})
    forged = [("weir", b"{}"), ("a", b"1"), ("weir-error", b"x"), ("weir-offset", b"7")]
    rows = [Outgoing(b"k", value(i), 1000 + i, [*forged, ("weirdo", b"2")]) for i in range(1, 9)]
    rows.append(Outgoing(b"k", b"{broken", 2000, forged))
    async with ChunkSink(client_options(settings.kafka)) as sink:
        await sink.send(settings.topics.requests, 0, rows)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == len(rows))
        await child.stop()
    async for topic, record in everything(settings):
        names = [name for name, _ in record.headers]
        if topic == settings.topics.rejected:
            assert names[:2] == ["a", "weir-error"]
            assert names.count("weir-offset") == 1
        else:
            assert names == ["a", "weirdo", "weir"]
    found = await account(settings)
    assert found.exact, found.summary()


async def test_what_cannot_be_unpacked_is_one_dead_letter_and_stops_nothing(
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """A bomb is dead-lettered over its offsets, counted and logged; what follows it is decided."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact())})
    await publish(settings, 0, 400)
    zeros: list[Row] = [(1, None, b"{}", []), (2, None, bytes(40_000_000), [])]
    packed = gzip.compress(payload_of(zeros))
    bomb = frame(packed, base=0, count=2, first=1, newest=2, attributes=1)
    await send_raw(client_options(settings.kafka), settings.topics.requests, 2, [(bomb, 2)])
    await publish(settings, 400, 400)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == 801)
        await child.stop()
        assert child.returncode == 0
        log = child.log.read_text()
    found = await account(settings)
    assert found.exact, found.summary()
    assert (found.requests, found.unreadable) == (801, 1)
    letters = [
        record
        async for topic, record in everything(settings)
        if topic == settings.topics.rejected
        and DeadLetter.from_headers(record.headers).code == RejectCode.UNREADABLE
    ]
    (letter,) = letters
    stated = DeadLetter.from_headers(letter.headers)
    first = stated.offset
    assert stated.last_offset == first + 1
    assert "max_unpacked_bytes" in stated.message
    assert (letter.key, letter.timestamp, len(letter.value)) == (None, 2, 1024)
    where = f"{settings.topics.requests}[2]@{first}: the batch up to offset {first + 1}"
    assert re.search(re.escape(where), log)


async def test_a_dead_letter_fits_whatever_the_record_has(
    tiny_settings: Settings,  # noqa: F811
    make_artifact: Make,
    tmp_path: Path,
) -> None:
    """Headers without bytes of their own still fill a batch; the dead letter leaves them out."""
    settings = tiny_settings.override({"model.artifact": str(make_artifact())})
    rows: list[Row] = [
        (1, b"k", value(1), [(b"", None)] * 499_920),
        (2, b"k" * 999_850, value(2), []),
        (3, b"k", value(3), [(b"n" * 999_850, None)]),
        (4, b"k" * 999_880, None, []),
        (5, None, None, [(b"", None)] * 499_930),
        (6, b"k" * 999_880, b"", []),
    ]
    batches = [(batch([row]), 1) for row in rows]
    await send_raw(client_options(settings.kafka), settings.topics.requests, 0, batches)
    async with worker(settings, tmp_path) as (child, port):
        await until(child, port, lambda sample: sample.requests == len(rows))
        await child.stop()
        assert child.returncode == 0
    found = await account(settings)
    assert found.exact, found.summary()
    assert found.counts[FaultKind.ALTERED] == 0
    assert found.count(Fate.REJECTED) == 6
