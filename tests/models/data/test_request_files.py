import gzip
from pathlib import Path

import fsspec
import orjson
import polars as pl
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from models.data.request_files import FileRecord, RequestFileError, is_file, read_requests
from models.data.request_lines import MAX_LINE_BYTES, whole_lines
from models.data.request_streams import read_range

BARE = b'{"id":"a","imp":[{}],"ext":{"ts":1700000000123}}'
ENVELOPE = {"key": "k", "value": {"id": "b", "imp": [{}]}, "timestamp": 17}


def test_lines_are_bare_requests_envelopes_or_taken_as_they_are(tmp_path: Path) -> None:
    """Bare requests keep their bytes, envelopes give key and time, broken lines stay broken."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"\n".join([BARE, orjson.dumps(ENVELOPE), b"{broken", b"", b"[1]"]) + b"\n")
    assert list(read_requests(path)) == [
        FileRecord("requests.jsonl", 0, 0, b"a", BARE, 1700000000123),
        FileRecord("requests.jsonl", 0, 1, b"k", b'{"id":"b","imp":[{}]}', 17),
        FileRecord("requests.jsonl", 0, 2, None, b"{broken", 0),
        FileRecord("requests.jsonl", 0, 3, None, b"[1]", 0),
    ]


@pytest.mark.parametrize("said", [1700000000, 1700000000000, 1700000000000000, "1.7e18"])
def test_a_requests_own_time_is_read_in_any_unit(tmp_path: Path, said: object) -> None:
    """Seconds, ms, us and ns of ``ext.ts`` are one time; what is out of range is none."""
    path = tmp_path / "requests.jsonl"
    half = b'"t":"\\ud83d"'
    lines = [
        orjson.dumps({"id": "a", "imp": [{}], "t": 0, "ext": {"ts": said}}).replace(b'"t":0', half),
        orjson.dumps({"value": {"id": "b", "ext": {"ts": said}}}),
        b'{"id":"c","imp":[{}],"ext":{"ts":9223372036854775808}}',
    ]
    path.write_bytes(b"\n".join(lines))
    assert [record.timestamp for record in read_requests(path)] == [1700000000000] * 2 + [0]
    assert next(read_requests(path)).value == lines[0]


def test_gzip_and_parquet_hold_the_same_requests(tmp_path: Path) -> None:
    """The kind of file does not change what is read."""
    kinds = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")
    plain, packed, packed_too, table = (tmp_path / f"r.{kind}" for kind in kinds)
    plain.write_bytes(BARE + b"\n")
    packed_too.write_bytes(zstd.compress(BARE) + zstd.compress(b"\n"))
    packed.write_bytes(gzip.compress(BARE + b"\n"))
    pl.DataFrame({"key": ["a"], "value": [BARE], "timestamp": [None]}).write_parquet(table)
    wanted = [record[2:] for record in read_requests(plain)]
    assert [record[2:] for record in read_requests(packed)] == wanted
    assert [record[2:] for record in read_requests(packed_too)] == wanted
    assert [record[2:] for record in read_requests(table)] == wanted


def test_errors_name_the_file_and_what_is_missing(tmp_path: Path) -> None:
    """A missing file, an unknown type and a missing column are told apart."""
    odd, table = tmp_path / "requests.csv", tmp_path / "r.parquet"
    odd.write_text("")
    pl.DataFrame({"body": [BARE]}).write_parquet(table)
    with pytest.raises(RequestFileError, match="no such file"):
        read_requests(tmp_path / "absent.jsonl")
    with pytest.raises(RequestFileError, match=r"requests\.csv: unknown type"):
        read_requests(odd)
    with pytest.raises(RequestFileError, match=r"column 'value'.*there are body"):
        list(read_requests(table))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.jsonl.gz", b"plain text", "not gzip, or incomplete"),
        ("r.jsonl.gz", gzip.compress(BARE * 100, mtime=0)[:60], "not gzip, or incomplete"),
        ("r.jsonl.gz", gzip.compress(BARE, mtime=0)[:-9] + b"\xff" * 9, "not gzip, or incomplete"),
        ("r.jsonl.zst", b"plain text", "not zstd, or incomplete"),
        ("r.jsonl.zst", zstd.compress(BARE * 100)[:-20], "not zstd, or incomplete"),
        ("r.parquet", b"", "not Parquet, or incomplete"),
        ("r.parquet", b"PAR1" * 4, "not Parquet, or incomplete"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """Whether it is another format, empty, or breaks off."""
    damaged = tmp_path / name
    damaged.write_bytes(content)
    with pytest.raises(RequestFileError, match=rf"{name}: {message} \("):
        list(read_requests(damaged))


def test_a_folder_is_not_reported_as_missing(tmp_path: Path) -> None:
    """The error asks for one of its files."""
    with pytest.raises(RequestFileError, match="a folder; give one of its files"):
        read_requests(tmp_path)


def test_a_source_is_a_file_by_its_name_or_its_presence(tmp_path: Path) -> None:
    """Topic names are not taken for files."""
    assert is_file("absent.jsonl")
    assert is_file("absent.ndjson.zst")
    assert is_file("absent-*")
    assert is_file("memory://absent")
    assert is_file(str(tmp_path))
    assert not is_file("bid-requests")


HEADERS = (("seq", b"1"), ("weir", b'{"e":1}'), ("none", None))


@pytest.mark.parametrize(
    "written",
    [
        [["seq", "1"], ["weir", '{"e":1}'], ["none", None]],
        {"seq": "1", "weir": {"e": 1}, "none": None},
        ["seq", "1", "weir", '{"e":1}', "none", None],
        [{"key": "seq", "value": "1"}, {"name": "weir", "value": '{"e":1}'}, *[["none", None]]],
    ],
)
def test_headers_are_kept_however_they_are_written(tmp_path: Path, written: object) -> None:
    """Pairs, objects, names and values in turn; in lines and in tables."""
    lines, table = tmp_path / "r.jsonl", tmp_path / "r.parquet"
    lines.write_bytes(orjson.dumps({**ENVELOPE, "headers": written}))
    text = orjson.dumps(written).decode()
    pl.DataFrame({"value": [BARE], "headers": [text]}).write_parquet(table)
    assert next(read_requests(lines)).headers == HEADERS
    assert next(read_requests(table)).headers == HEADERS


def test_globs_and_urls_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Local files and those of any file system that fsspec knows."""
    for name in "ba":
        (tmp_path / f"{name}.jsonl").write_bytes(BARE.replace(b'"a"', f'"{name}"'.encode()))
        with fsspec.open(f"memory://requests/{name}.jsonl.gz", "wb") as file:
            file.write(gzip.compress((tmp_path / f"{name}.jsonl").read_bytes()))
    for source in (str(tmp_path / "*.jsonl"), "memory://requests/*.gz"):
        assert [record.key for record in read_requests(source)] == [b"a", b"b"]
    with pytest.raises(RequestFileError, match="no file matches"):
        read_requests(tmp_path / "*.ndjson")
    with pytest.raises(RequestFileError, match=r"nothing://x\.jsonl: cannot be read"):
        read_requests("nothing://x.jsonl")


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_ranges_and_streams_have_the_lines_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int, step: int
) -> None:
    """Wherever a file is cut, each line is read once and whole."""
    data = b"\n".join(lines)
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    path.write_bytes(data)
    ranges = [
        read_range(str(path), at, min(at + step, len(data)), MAX_LINE_BYTES)
        for at in range(0, len(data), step)
    ]
    assert b"".join(ranges) == data
    blocks = list(whole_lines(data[at : at + block] for at in range(0, len(data), block)))
    assert b"".join(blocks) == data
    read = [part for part in ranges if part]
    assert all(part.endswith(b"\n") for part in (*blocks[:-1], *read[:-1]))


def test_a_line_without_an_end_is_cut() -> None:
    """It takes no more memory than the longest line that is read, and the next line is whole."""
    size = 1 << 20
    blocks = [b"x" * size for _ in range(20)] + [b"x\n" + BARE]
    first, second = b"".join(whole_lines(blocks)).split(b"\n")
    assert len(first) == MAX_LINE_BYTES
    assert second == BARE
