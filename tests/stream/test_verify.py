"""The verifier against topics that are wrong in every way it must notice."""

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from models.settings import Settings
from stream.records import Decision, Reason
from stream.verify import Account, Fate, account

pytestmark = pytest.mark.broker


def header(offset: int, reason: Reason = Reason.SCORE) -> list[tuple[str, bytes]]:
    return [("weir", Decision("m1", 0.5, 0.4, reason, 1.0, offset).to_bytes())]


def rejected(offset: int) -> list[tuple[str, bytes]]:
    return [("weir-error", b"empty"), ("weir-offset", b"%d" % offset)]


async def produce(
    settings: Settings, rows: list[tuple[str, bytes, list[tuple[str, bytes]]]]
) -> None:
    """Write rows of (topic, value, headers) to partition 0, with timestamps by value."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all")
    async with producer:
        for topic, value, headers in rows:
            await producer.send_and_wait(
                topic, value, key=b"k", partition=0, timestamp_ms=1000 + value[0], headers=headers
            )


async def test_everything_in_its_place_is_exact(settings: Settings) -> None:
    """One output per input, unchanged and in order, is an exact account."""
    names = settings.topics
    await produce(
        settings,
        [
            *((names.requests, value, []) for value in (b"0", b"1", b"2", b"3")),
            (names.passed, b"0", header(0, Reason.UNCERTAIN)),
            (names.blocked, b"1", header(1)),
            (names.rejected, b"2", rejected(2)),
            (names.passed, b"3", header(3)),
        ],
    )
    found = await account(settings)
    assert found.exact
    assert found.fates.tolist() == [Fate.PASSED, Fate.BLOCKED, Fate.REJECTED, Fate.PASSED]
    assert found.reasons == {"uncertain": 1, "score": 2}
    assert found.models == {"m1": 2}


async def test_every_fault_is_counted(settings: Settings) -> None:
    """Missing, doubled, altered, unknown and reordered records are told apart."""
    names = settings.topics
    await produce(
        settings,
        [
            *((names.requests, value, []) for value in (b"0", b"1", b"2", b"3", b"4")),
            (names.passed, b"1", header(1)),
            (names.passed, b"0", header(0)),
            (names.blocked, b"1", header(1)),
            (names.blocked, b"X", header(2)),
            (names.blocked, b"3", header(99)),
            (names.rejected, b"4", rejected(4)),
        ],
    )
    found = await account(settings)
    assert not found.exact
    assert (found.missing, found.doubled, found.altered, found.unknown, found.reordered) == (
        1,
        1,
        1,
        1,
        1,
    )


def test_worst_window_is_taken_over_every_window() -> None:
    """A run of passes in the middle is found, wherever windows begin; rejects do not count."""
    fates = np.tile([Fate.BLOCKED, Fate.PASSED], 50).astype(np.int8)
    fates[40:50] = Fate.PASSED
    fates = np.insert(fates, 45, Fate.REJECTED)
    found = Account(requests=len(fates), fates=fates)
    assert found.worst_window_error(0.5, window=10, warm_up=0) == pytest.approx(0.5)
    assert found.worst_window_error(0.5, window=10, warm_up=60) == pytest.approx(0.0)
    assert found.achieved_rate(warm_up=0) == pytest.approx(0.45)
