"""Publishing: all of it, in order, on intended times, with nothing changed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from models.data.request_files import RequestFileError
from models.settings import Settings
from stream.kafka.client import client_options
from stream.messages import sequence_number
from trainer.simulation.traffic import Traffic
from trainer.traffic.jsonl import shipments
from trainer.traffic.publish import Publisher, Shipment, evenly, on_their_times
from trainer.traffic.sender import BatchSender, SendError


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def read_all(settings: Settings, count: int) -> list[ConsumerRecord]:
    """The first ``count`` requests on the topic, in publishing order."""
    async with AIOKafkaConsumer(**client_options(settings.kafka)) as consumer:
        topic = settings.topics.requests
        assigned = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        records: list[ConsumerRecord] = []
        while len(records) < count:
            for part in (await consumer.getmany(timeout_ms=1000)).values():
                records += part
    return sorted(records, key=lambda record: sequence_number(record.headers))


def sender(settings: Settings) -> BatchSender:
    return BatchSender(client_options(settings.kafka), settings.topics.requests)


async def test_everything_arrives_once_and_unchanged(settings: Settings, traffic: Traffic) -> None:
    """Keys and bytes are the requests' own; ``seq`` restores the order across partitions."""
    wanted = traffic[:5000]
    async with sender(settings) as out:
        parts = (wanted[first : first + 1700] for first in range(0, 5000, 1700))
        assert await Publisher(out).publish(evenly(parts, rate=0)) == 5000
    found = await read_all(settings, 5000)
    assert [record.value for record in found] == wanted.values
    assert [record.key.decode() for record in found] == wanted.ids
    assert [sequence_number(record.headers) for record in found] == list(range(5000))
    assert len({record.partition for record in found}) == settings.kafka.partitions
    by_partition: dict[int, list[ConsumerRecord]] = {}
    for record in found:
        by_partition.setdefault(record.partition, []).append(record)
    for records in by_partition.values():
        offsets = [record.offset for record in records]
        assert offsets == sorted(offsets)


async def test_a_paced_request_carries_the_moment_at_which_it_was_due(
    settings: Settings, traffic: Traffic
) -> None:
    """Time stamps are those intended, whole shipments on; nothing leaves before it is due."""
    clock = Clock(1000.0)
    async with sender(settings) as out:
        parts = [traffic[:300], traffic[300:450]]
        await Publisher(out, clock, clock.sleep).publish(evenly(parts, rate=100))
    found = await read_all(settings, 450)
    assert [record.timestamp for record in found] == [1_000_000 + 10 * i for i in range(450)]
    assert clock.now >= 1000.0 + 4.49


async def test_requests_on_their_own_times_keep_their_distances(
    settings: Settings, traffic: Traffic
) -> None:
    """A time scale divides the time between requests, and nothing else."""
    clock = Clock(1000.0)
    hours = np.arange(7) * 3_600_000
    some = replace(traffic[:7], timestamps=5_000_000 + hours)
    async with sender(settings) as out:
        scaled = on_their_times([some[:3], some[3:]], time_scale=3600)
        await Publisher(out, clock, clock.sleep).publish(scaled)
    found = await read_all(settings, 7)
    assert [record.timestamp for record in found] == [1_000_000 + 1000 * i for i in range(7)]


async def test_records_without_a_key_and_without_a_value_are_published_too(
    settings: Settings,
) -> None:
    """Tombstones and unkeyed records reach the topic, the latter spread over the partitions."""
    keys: list[bytes | None] = [None] * 8 + [b"k"]
    values: list[bytes | None] = [b"v"] * 8 + [None]
    async with sender(settings) as out:
        await Publisher(out).publish([Shipment(keys, values)])
    found = await read_all(settings, 9)
    assert [(record.key, record.value) for record in found] == list(zip(keys, values, strict=True))
    assert len({record.partition for record in found[:8]}) == settings.kafka.partitions


async def test_a_failing_source_is_not_swallowed(settings: Settings) -> None:
    """What goes wrong while requests are made comes out of ``publish``."""

    def broken() -> Iterator[Shipment]:
        yield Shipment([None], [b"first"])
        raise RequestFileError("line 2")

    async with sender(settings) as out:
        with pytest.raises(RequestFileError, match="line 2"):
            await Publisher(out).publish(broken())


async def test_a_missing_topic_is_named(settings: Settings) -> None:
    """The error names the topic and the command that creates it."""
    with pytest.raises(SendError, match="nowhere: no such topic; `weir topics`"):
        async with BatchSender(client_options(settings.kafka), "nowhere"):
            pass


def test_a_file_gives_bare_requests_envelopes_and_broken_lines(tmp_path: Path) -> None:
    """An envelope is unwrapped, a bare request keeps its bytes, and so does what is no JSON."""
    bare = b'{"id": "a", "imp": [{}], "value": 1}'
    lines = [bare, b'{"key":"k","value":{"id":"b"},"timestamp":5}', b'{"value":"text"}', b"{broken"]
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"\n".join(lines))
    (shipment,) = shipments(path, rate=2.0)
    assert shipment.keys == [b"a", b"k", None, None]
    assert shipment.values == [bare, orjson.dumps({"id": "b"}), b"text", b"{broken"]
    assert shipment.due_s is not None
    assert shipment.due_s.tolist() == [0.0, 0.5, 1.0, 1.5]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(RequestFileError, match=r"none\.jsonl: no such file"):
        next(shipments(tmp_path / "none.jsonl"))
