"""Hostile records of every topic, as hypothesis strategies: key, value, headers, timestamp.

Each topic has messages of the right form with one or more wrong values, messages of no form at
all, and envelopes that no client of ours would write. Nothing here is known to Weir: whether a
record is accepted or refused is for Weir to say, and the run only holds it to the consequences.
"""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

NOW_MS: Final = int(time.time() * 1000)
"""When the attack begins; all times are told from here."""
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
    """So many records, no two alike; the same ones for the same number."""
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


# Values.

_long_texts = st.builds(
    lambda unit, count: unit * count, st.sampled_from(["a", "\n", "é", "%", "\\"]),
    st.sampled_from([300, 3_000]),
)  # fmt: skip
_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "*", "\x00", "\ud800", "\x1b[31m", "a\nb", "NaN", "1e400", "%s", "../../x"]
    ),
    _long_texts,
)
_numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e308,
         1e-320, 0.5, NOW_MS, NOW_MS // 1000, NOW_MS * 1000, NOW_MS + DAY_MS]
    ),
)  # fmt: skip
_scalars = st.none() | st.booleans() | _numbers | _texts
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=8,
)
_deep = st.builds(
    lambda depth, opening, closed: opening * depth + (b"}" if opening == b"{" else b"]") * closed,
    st.sampled_from([20, 254, 1_000, 1_020, 1_030, 5_000]),
    st.sampled_from([b"[", b'{"a":']),
    st.sampled_from([0, 1_020, 5_000]),
)


def _encoded(document: object) -> bytes:
    """JSON as loosely as Python writes it: NaN, lone surrogates and numbers of any size too."""
    return json.dumps(document).encode()


_no_form = st.one_of(
    st.none(),
    st.binary(max_size=200),
    _json.map(_encoded),
    _deep,
    st.sampled_from(
        [b"", b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"\x00" * 100, b'{"a":' * 3000]
    ),
)


def _objects(fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[bytes]:
    """Objects with these fields, some of them wrong or missing, and some that nobody knows."""

    @st.composite
    def build(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
        document = {}
        for name, right in fields.items():
            fate = draw(st.integers(0, 9))
            if fate < 7:
                document[name] = draw(right)
            elif fate < 9:
                document[name] = draw(_json)
        if draw(st.integers(0, 9)) == 0:
            document[draw(_texts)] = draw(_json)
        return _encoded(document)

    return build()


def _cut(raw: bytes, at: float) -> bytes:
    return raw[: int(at * len(raw))]


def _with_byte(raw: bytes, at: float, byte: int) -> bytes:
    place = int(at * (len(raw) - 1))
    return raw[:place] + bytes([byte]) + raw[place + 1 :]


def _damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Sound bytes that were cut, or have another byte somewhere, or one part twice."""
    shares = st.floats(0, 1)
    return st.one_of(
        st.builds(_cut, whole, shares),
        st.builds(_with_byte, whole, shares, st.integers(0, 255)),
        st.builds(lambda raw, at: _cut(raw, at) + raw, whole, shares),
    )


# Envelopes.

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
_keys = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.builds(lambda n: b"k" * n, st.sampled_from([1_100, 4_000])),
)
_timestamps = st.one_of(
    st.just(NOW_MS),
    st.sampled_from([-1, 0, 1, NOW_MS // 1000, NOW_MS * 1000, NOW_MS + DAY_MS, NOW_MS - DAY_MS,
                     2**62, 2**63 - 1]),
)  # fmt: skip


def _with_envelopes(
    values: st.SearchStrategy[bytes | None], keys: st.SearchStrategy[bytes | None] = _keys
) -> st.SearchStrategy[Record]:
    return st.builds(Record, keys, values, _headers, _timestamps)


# Topics.


def bid_requests(sound: list[bytes]) -> st.SearchStrategy[Record]:
    """Requests: damaged sound ones, objects with wrong fields, and anything else."""
    places = ["id", "imp", "site", "app", "device", "user", "regs", "source", "ext", "tmax", "cur"]
    fields = st.dictionaries(st.sampled_from(places), _json, max_size=6).map(_encoded)
    wrong = st.builds(
        lambda raw, place, value: _encoded({**json.loads(raw), place: value}),
        st.sampled_from(sound), st.sampled_from(places), _json,
    )  # fmt: skip
    return _with_envelopes(st.one_of(_damaged(st.sampled_from(sound)), fields, wrong, _no_form))


def longest(sound: bytes) -> list[Record]:
    """As long as a broker takes by default, and longer than any output batch where compressed."""
    return [
        Record(b"k" * 3_000_000, sound),
        Record(b"good", sound, ((b"trace", b"x" * 3_000_000),)),
        Record(None, sound.ljust(950_000)),
        Record(b"k" * 60_000, sound.ljust(900_000), ((b"weir", b"x" * 70_000),)),
        Record(None, b'{"request_id":"%b' % (b"e" * 950_000)),
        Record(None, b"[" * 950_000),
    ]


def outcomes() -> st.SearchStrategy[Record]:
    """Outcomes of requests that nobody sent."""
    form = _objects(
        {
            "request_id": st.text("abcdef", max_size=10).map(lambda text: f"evil-{text}"),
            "task": st.sampled_from(TASKS),
            "ts": st.just(NOW_MS) | st.integers(NOW_MS - DAY_MS, NOW_MS + DAY_MS),
        }
    )
    return _with_envelopes(st.one_of(form, _damaged(form), _no_form))


def examples(columns: int) -> st.SearchStrategy[Record]:
    """Training examples of requests that nobody sent."""
    decision = st.fixed_dictionaries(
        {
            "model": st.just("m") | _texts,
            "e": st.floats(0, 1) | _json,
            "threshold": st.none() | _numbers,
            "reason": st.sampled_from(["score", "explore", "x"]),
            "propensity": st.floats(0, 1) | _numbers,
            "offset": st.integers(0, 100) | _numbers,
        }
    )
    form = _objects(
        {
            "request_id": st.text("abcdef", max_size=10).map(lambda text: f"evil-{text}"),
            "ts": st.just(NOW_MS),
            "spec": st.text("0123456789abcdef", min_size=32, max_size=32),
            "features": st.just([1] * columns) | st.lists(_numbers, max_size=5),
            "labels": st.dictionaries(st.sampled_from(TASKS), st.sampled_from([None, 0, 1, 2])),
            "decision": decision,
        }
    )
    return _with_envelopes(st.one_of(form, _damaged(form), _no_form))


_scenarios = st.one_of(
    st.just(b"*"),
    st.text(max_size=8).map(lambda text: f"s-{text}".encode("utf-8", "replace")),
    _keys,
)


def control() -> st.SearchStrategy[Record]:
    """Changes of settings; those that are sound may apply."""
    form = _objects(
        {
            "rate": st.floats(0, 1),
            "capacity": st.none() | st.floats(1, 1e6) | st.sampled_from(["inf", "nan"]),
            "slack": st.floats(1, 100) | st.sampled_from([1e8, 1e308, 2**63]),
            "reward": st.sampled_from(["deal * 20 + cart", "+".join(["deal"] * 1000), "(" * 500]),
            "weights": st.dictionaries(st.sampled_from([*TASKS, "x"]), _numbers, max_size=3),
            "kappa": st.floats(0, 10) | _numbers,
            "explore": st.floats(0, 1),
            "direct_share": st.just("auto") | _numbers,
            "consumption": st.none()
            | st.dictionaries(st.sampled_from(["least", "most"]), _numbers),
        }
    )
    few = st.builds(lambda name, value: _encoded({name: value}), st.sampled_from(
        ["rate", "capacity", "slack", "kappa", "explore", "weights", "reward", "consumption"]
    ), _json)  # fmt: skip
    return _with_envelopes(st.one_of(form, few, _no_form), _scenarios)


def consumption() -> st.SearchStrategy[Record]:
    """Reports on budgets."""
    form = _objects(
        {
            "budget": st.floats(0, 1e9),
            "spent": st.floats(0, 1e9),
            "start": st.just(NOW_MS),
            "end": st.just(NOW_MS + DAY_MS),
            "ts": st.integers(NOW_MS, NOW_MS + DAY_MS),
        }
    )
    return _with_envelopes(st.one_of(form, _no_form), _scenarios)


def rate_states() -> st.SearchStrategy[Record]:
    """States of partitions that exist, and of ones that do not."""
    form = _objects(
        {
            "rewards": st.sampled_from(
                ["", "AAAAAA==", "AADAfw==", "AACAfwAAgH8=", "x", "A" * 9000]
            ),
            "debt": st.floats(-100, 100) | _numbers,
            "per_second": st.floats(0, 1e6) | _numbers,
            "worker": st.just("evil") | _texts,
            "generation": st.integers(0, 100) | _numbers,
        }
    )
    keys = st.one_of(
        st.builds(lambda number, name: f"{number}:{name}".encode("utf-8", "replace"),
                  st.integers(0, 8) | st.integers(), st.just("*") | st.text(max_size=5)),
        st.just(b"9" * 5000 + b":*"),
        _keys,
    )  # fmt: skip
    return _with_envelopes(st.one_of(form, _no_form), keys)


def announcements() -> st.SearchStrategy[Record]:
    """Artifacts that are not there, or must not be looked at."""
    urls = st.one_of(
        st.sampled_from(
            ["zip::x", "tar::x", "ftp://127.0.0.1/x", "generic::x", "http://127.0.0.1:9/x",
             "data:,x", "simplecache::file:///etc", "file:///etc", "/etc", "/dev/zero", "../..",
             "memory://x", "pretrained:openrtb", "pretrained:../x", "github://a:b@/x",
             "reference::x", ""]
        ),
        _texts,
    )  # fmt: skip
    form = _objects(
        {
            "version": st.just("evil") | _texts,
            "url": urls,
            "manifest_sha256": st.just("0" * 64) | _texts,
            "ts": st.just(NOW_MS),
            "metrics": st.just({}) | _json,
        }
    )
    return _with_envelopes(st.one_of(form, _no_form), st.just(b"default") | _keys)
