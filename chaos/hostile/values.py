"""Wrong values and envelopes as hypothesis strategies, and the drawing of records from them.

Nothing here is known to Weir: whether a record is accepted or refused is for Weir to decide.
"""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

NOW_MS: Final = int(time.time() * 1000)
"""Start of the attack, the reference of all timestamps."""
DAY_MS: Final = 86_400_000
TASKS: Final = ("click", "online", "cart", "deal")
BLOCK: Final = 20
"""Records of one hypothesis example."""


class Record(NamedTuple):
    """A record as a producer writes it; header names are bytes, which need not be text."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    timestamp: int = NOW_MS


def draw_many(records: st.SearchStrategy[Record], count: int, number: int) -> list[Record]:
    """Draw distinct records; the same number draws the same ones."""
    drawn: dict[str, Record] = {}
    for turn in itertools.count():
        _draw(records, count - len(drawn), number + turn, drawn)
        if len(drawn) >= count:
            return list(drawn.values())[:count]
    raise AssertionError  # never reached


def _draw(
    records: st.SearchStrategy[Record], count: int, number: int, drawn: dict[str, Record]
) -> None:
    @seed(number)
    @settings(
        max_examples=-(-count // BLOCK) + 1,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(records, min_size=BLOCK, max_size=BLOCK))
    def collect(block: list[Record]) -> None:
        drawn.update((repr(record), record) for record in block)

    collect()


_long_texts = st.builds(
    lambda unit, count: unit * count, st.sampled_from(["a", "\n", "é", "%", "\\"]),
    st.sampled_from([300, 3_000]),
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "*", "\x00", "\ud800", "\x1b[31m", "a\nb", "NaN", "1e400", "%s", "../../x"]
    ),
    _long_texts,
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e308,
         1e-320, 0.5, NOW_MS, NOW_MS // 1000, NOW_MS * 1000, NOW_MS + DAY_MS]
    ),
)  # fmt: skip
_scalars = st.none() | st.booleans() | numbers | texts
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
_deep = st.builds(
    lambda depth, opening, closed: opening * depth + (b"}" if opening == b"{" else b"]") * closed,
    st.sampled_from([20, 254, 1_000, 1_020, 1_030, 5_000]),
    st.sampled_from([b"[", b'{"a":']),
    st.sampled_from([0, 1_020, 5_000]),
)


def encoded(document: object) -> bytes:
    """JSON in Python's superset: NaN, lone surrogates and numbers of any size."""
    return json.dumps(document).encode()


formless = st.one_of(
    st.none(),
    st.binary(max_size=200),
    json_values.map(encoded),
    _deep,
    st.sampled_from(
        [b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"\x00" * 100, b'{"a":' * 3000]
    ),
)


def objects(fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[bytes]:
    """JSON objects with these fields, some of them wrong or missing, and unknown ones."""

    @st.composite
    def build(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
        document = {}
        for name, right in fields.items():
            fate = draw(st.integers(0, 9))
            if fate < 7:
                document[name] = draw(right)
            elif fate < 9:
                document[name] = draw(json_values)
        if draw(st.integers(0, 9)) == 0:
            document[draw(texts)] = draw(json_values)
        return encoded(document)

    return build()


def _cut(raw: bytes, at: float) -> bytes:
    return raw[: int(at * len(raw))]


def _with_byte(raw: bytes, at: float, byte: int) -> bytes:
    place = int(at * (len(raw) - 1))
    return raw[:place] + bytes([byte]) + raw[place + 1 :]


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes truncated, with one byte replaced, or with one part repeated."""
    shares = st.floats(0, 1)
    return st.one_of(
        st.builds(_cut, whole, shares),
        st.builds(_with_byte, whole, shares, st.integers(0, 255)),
        st.builds(lambda raw, at: _cut(raw, at) + raw, whole, shares),
    )


_header_names = st.one_of(
    st.sampled_from([b"weir", b"weir-error", b"weir-offset", b"weir-x", b"seq", b"", b"\xff\xfe"]),
    st.binary(max_size=12),
)
_headers = st.one_of(
    st.just(()),
    st.lists(st.tuples(_header_names, st.none() | st.binary(max_size=60)), max_size=5).map(tuple),
    st.builds(lambda size: ((b"weir", b"x" * size),), st.sampled_from([100, 2_000])),
    st.builds(lambda count: ((b"many", b"1"),) * count, st.sampled_from([100, 3_000])),
)
#: Key of the good requests, by which the checks tell them from copies with hostile envelopes.
GOOD = b"good"
keys = st.one_of(
    st.none(),
    st.binary(max_size=20).filter(lambda key: key != GOOD),  # it draws constants of the sources
    st.builds(lambda n: b"k" * n, st.sampled_from([1_100, 4_000])),
)
_timestamps = st.one_of(
    st.just(NOW_MS),
    st.sampled_from([-1, 0, 1, NOW_MS // 1000, NOW_MS * 1000, NOW_MS + DAY_MS, NOW_MS - DAY_MS,
                     2**62, 2**63 - 1]),
)  # fmt: skip


def with_envelopes(
    values: st.SearchStrategy[bytes | None], keys: st.SearchStrategy[bytes | None] = keys
) -> st.SearchStrategy[Record]:
    return st.builds(Record, keys, values, _headers, _timestamps)
