"""Outputs that a topic refuses become dead letters, in the order of their sources."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from models.settings import Settings
from stream.intercept.worker import InterceptWorker
from stream.messages import DeadLetter, Headers, RejectCode
from stream.transport import Chunk, Outputs, RecordsRefusedError, RecordTooLargeError

LONG = b'{"id":"long","imp":[{}],"x":"' + b"a" * 30_000 + b'"}'


class Input(NamedTuple):
    """A consumed record."""

    offset: int
    value: bytes | None
    key: bytes | None = b"k"
    timestamp: int = 1_000
    headers: Headers = (("h", b"v"),)
    topic: str = "bid-requests"
    partition: int = 2


@pytest.fixture
def worker(tmp_path: Path) -> InterceptWorker:
    """Without a model, so that everything passes; nothing is connected."""
    settings = Settings().override({"model.artifact": str(tmp_path / "none")})
    app: Any = SimpleNamespace()
    return InterceptWorker(settings, app)


def chunk(*values: bytes | None) -> Chunk:
    records = [Input(10 + 2 * n, value) for n, value in enumerate(values)]
    return Chunk("bid-requests", 2, records, 10, 10 + 2 * len(values), 0, 0.0)


async def outputs_of(worker: InterceptWorker, source: Chunk) -> Outputs:
    (outputs,) = await worker.intercept([source])
    return outputs


def request(number: int) -> bytes:
    return b'{"id":"r%d","imp":[{}]}' % number


def letters(outputs: Outputs) -> list[DeadLetter]:
    return [DeadLetter.from_headers(record.headers) for record in outputs["bid-requests-rejected"]]


async def test_what_is_too_large_is_cut_and_takes_its_place(worker: InterceptWorker) -> None:
    """Dead letters stay in source order, whenever they were made."""
    source = chunk(b"{broken", LONG, request(2), b"[]")
    outputs = await outputs_of(worker, source)
    passed = "bid-requests-passed"
    error = RecordTooLargeError(passed, 2, {0: 31_000}, 20_000)
    replaced = worker.replace(source, outputs, error)
    assert [record.value for record in replaced[passed]] == [request(2)]
    found = letters(replaced)
    assert [letter.offset for letter in found] == [10, 12, 16]
    assert found[1].code == RejectCode.TOO_LARGE
    assert found[1].truncated_from == len(LONG)
    assert "31000 bytes" in found[1].message
    again = RecordTooLargeError("bid-requests-rejected", 2, {1: 1_500}, 1_000)
    with pytest.raises(RecordTooLargeError):
        worker.replace(source, replaced, again)


async def test_what_has_a_refused_timestamp_gets_the_present(worker: InterceptWorker) -> None:
    """Its own is in a header; once is enough, also for a dead letter of another reason."""
    source = chunk(request(0), b"{broken", request(2))
    outputs = await outputs_of(worker, source)
    refused = RecordsRefusedError("bid-requests-passed", 2, [1], "too old")
    replaced = worker.replace(source, outputs, refused)
    found = letters(replaced)
    assert [letter.offset for letter in found] == [12, 14]
    assert (found[1].code, found[1].message) == (RejectCode.REFUSED, "too old")
    assert [letter.timestamp for letter in found] == [None, 1_000]
    rejected = RecordsRefusedError("bid-requests-rejected", 2, [0], "too old")
    replaced = worker.replace(source, replaced, rejected)
    found = letters(replaced)
    assert [letter.timestamp for letter in found] == [1_000, 1_000]
    assert [letter.code for letter in found] == [RejectCode.INVALID_JSON, RejectCode.REFUSED]
    assert all(record.timestamp > 1_000 for record in replaced["bid-requests-rejected"])
    with pytest.raises(RecordsRefusedError):
        worker.replace(source, replaced, rejected)


async def test_a_part_of_the_outputs_is_enough(worker: InterceptWorker) -> None:
    """A sink may show only the batch that the broker refused."""
    source = chunk(*map(request, range(6)))
    outputs = await outputs_of(worker, source)
    part: Outputs = {topic: records[2:5] for topic, records in outputs.items()}
    refused = RecordsRefusedError("bid-requests-passed", 2, [1], "too old")
    replaced = worker.replace(source, part, refused)
    assert [record.value for record in replaced["bid-requests-passed"]] == [request(2), request(4)]
    assert [letter.offset for letter in letters(replaced)] == [16]
