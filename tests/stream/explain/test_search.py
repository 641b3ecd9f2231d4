"""Finding a request by its id: every form of it, twice, nowhere, with hostile headers."""

import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.request_files import FileRecord
from models.settings import Settings
from stream.explain.search import ExplainError, Finds, Kind, Matcher, choose, search
from stream.messages import DeadLetter, Decision, Reason, RejectCode

HEADER = Decision("v1", 0.5, 0.4, Reason.SCORE, 1.0, 7).to_header()


def record(value: bytes | None, *headers: tuple[str, bytes], offset: int = 0) -> FileRecord:
    return FileRecord("topic", 3, offset, None, value, 0, headers)


def bid(request_id: str) -> bytes:
    return orjson.dumps({"id": request_id, "imp": [{}]})


@given(st.text(min_size=1, max_size=40))
def test_an_id_is_found_however_it_is_written(request_id: str) -> None:
    """As UTF-8, or with every character escaped; a longer id is another one."""
    escaped = "".join(
        f"\\u{unit:04x}"
        for pair in [request_id.encode("utf-16-be")]
        for unit in [int.from_bytes(pair[at : at + 2]) for at in range(0, len(pair), 2)]
    )
    values = [
        bid(request_id),
        b'{"imp":[{}],"id":"%s"}' % escaped.encode(),
        bid(f"{request_id}x"),
        b"{broken " + bid(request_id),
        None,
    ]
    records = [record(value, offset=n) for n, value in enumerate(values)]
    found = Matcher(request_id, 1_000_000).find(records, Kind.REQUEST)
    assert [each.record.offset for each in found] == [0, 1]


@pytest.mark.parametrize(
    ("request_id", "fault"), [("", "empty"), ("x" * 5000, "5000 characters"), ("\ud800", "UTF-8")]
)
def test_what_no_request_can_have_as_its_id_is_refused(request_id: str, fault: str) -> None:
    """Before anything is read."""
    with pytest.raises(ExplainError, match=fault):
        Matcher(request_id, 1000)


def test_decisions_and_dead_letters_are_told_apart() -> None:
    """A file keeps all of them; what has no header of Weir is the request itself."""
    letter = DeadLetter(RejectCode.MISSING_IMP, "$.imp: is missing", "requests", 0, 41)
    dead = record(b'{"id": "a"}', *((name, value or b"") for name, value in letter.to_headers()))
    found = Matcher("a", 1000).find(
        [record(bid("a"), HEADER), record(bid("a")), dead], Kind.DECIDED
    )
    assert [each.kind for each in found] == [Kind.REJECTED, Kind.DECIDED, Kind.REQUEST]
    assert [each.source_offset for each in found] == [41, 7, 0]
    other = record(b'{"other": "a"}', *dead.headers)
    assert Matcher("a", 1000).find([other], Kind.REJECTED) == []


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([("weir", b"\xff\x00{")], "topic[3]@5: weir header"),
        ([("weir", b'{"model":"v1"}')], "topic[3]@5: weir header"),
        ([], "topic[3]@5: the header 'weir' is missing"),
        ([("weir-error", b"no-such-code")], "topic[3]@5: dead letter"),
    ],
)
def test_a_hostile_header_is_named_with_its_place(
    headers: list[tuple[str, bytes]], fault: str
) -> None:
    """Bytes that Weir does not write end in one line with topic, partition and offset."""
    kind = Kind.REJECTED if headers and headers[0][0] == "weir-error" else Kind.PASSED
    with pytest.raises(ExplainError, match=re.escape(fault)):
        Matcher("a", 1000).find([record(bid("a"), *headers, offset=5)], kind)


def test_a_request_that_occurs_twice_needs_its_place() -> None:
    """All places are listed, and --at chooses among them."""
    finds = Finds(["topic"], 2)
    finds.add(
        Matcher("a", 1000).find([record(bid("a"), HEADER, offset=n) for n in (4, 9)], Kind.PASSED)
    )
    with pytest.raises(ExplainError, match=re.escape("2 times, at topic[3]@4, topic[3]@9;")):
        choose(finds, "a", None)
    assert choose(finds, "a", "topic[3]@9").record.offset == 9
    with pytest.raises(ExplainError, match="--at elsewhere: a is not there"):
        choose(finds, "a", "elsewhere")
    with pytest.raises(ExplainError, match=r"b: no such request among 0 records of nothing"):
        choose(Finds(["nothing"]), "b", None)


async def test_files_are_searched_without_a_broker(tmp_path: Path) -> None:
    """Settings name no broker that answers; a file needs none."""
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b"\n".join([b"{broken", bid("a"), bid("b")]))
    finds = await search(Settings(), "b", [str(file)])
    assert choose(finds, "b", None).where == "requests.jsonl[0]@2"
    assert finds.records == 3
