"""Hostile records of every topic, as hypothesis strategies: key, value, headers, timestamp.

Each topic has messages of the right form with one or more wrong values, values of no form at
all, and envelopes that no client of ours would write.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

from chaos.hostile.values import (
    DAY_MS,
    GOOD,
    NOW_MS,
    TASKS,
    Record,
    damaged,
    draw_many,
    encoded,
    formless,
    json_values,
    keys,
    numbers,
    objects,
    texts,
    with_envelopes,
)
from models.settings import TopicSettings

COLUMNS: Final = 121
"""Feature columns of the OpenRTB spec, for examples of the right length."""


def draw_hostile(
    topics: TopicSettings, sound: Sequence[bytes], count: int, seed: int
) -> dict[str, list[Record]]:
    """Draw hostile records for each topic, and add the longest ones that brokers accept."""
    kinds = {
        topics.requests: bid_requests(list(sound[:50])),
        topics.outcomes: outcomes(),
        topics.examples: examples(COLUMNS),
        topics.control: control(),
        topics.consumption: consumption(),
        topics.rate_state: rate_states(),
        topics.rate_summaries: rate_summaries(),
        topics.models: announcements(),
    }
    drawn = {
        topic: draw_many(kind, count, seed + 100_000 * number)
        for number, (topic, kind) in enumerate(kinds.items())
    }
    drawn[topics.requests] += longest(sound[0])
    drawn[topics.outcomes] += longest(sound[0])
    return drawn


def bid_requests(sound: list[bytes]) -> st.SearchStrategy[Record]:
    """Bid requests: damaged valid ones, objects with wrong fields, and anything else."""
    places = ["id", "imp", "site", "app", "device", "user", "regs", "source", "ext", "tmax", "cur"]
    fields = st.dictionaries(st.sampled_from(places), json_values, max_size=6).map(encoded)
    wrong = st.builds(
        lambda raw, place, value: encoded({**json.loads(raw), place: value}),
        st.sampled_from(sound), st.sampled_from(places), json_values,
    )  # fmt: skip
    return with_envelopes(st.one_of(damaged(st.sampled_from(sound)), fields, wrong, formless))


def longest(sound: bytes) -> list[Record]:
    """Records as long as brokers accept by default; compressed, longer than any output batch."""
    return [
        Record(b"k" * 3_000_000, sound),
        Record(GOOD, sound, ((b"trace", b"x" * 3_000_000),)),
        Record(None, sound.ljust(950_000)),
        Record(b"k" * 60_000, sound.ljust(900_000), ((b"weir", b"x" * 70_000),)),
        Record(None, b'{"request_id":"%b' % (b"e" * 950_000)),
        Record(None, b"[" * 950_000),
    ]


def outcomes() -> st.SearchStrategy[Record]:
    """Outcomes of requests that do not exist."""
    form = objects(
        {
            "request_id": st.text("abcdef", max_size=10).map(lambda text: f"evil-{text}"),
            "task": st.sampled_from(TASKS),
            "ts": st.just(NOW_MS) | st.integers(NOW_MS - DAY_MS, NOW_MS + DAY_MS),
        }
    )
    return with_envelopes(st.one_of(form, damaged(form), formless))


def examples(columns: int) -> st.SearchStrategy[Record]:
    """Training examples of requests that do not exist."""
    decision = st.fixed_dictionaries(
        {
            "model": st.just("m") | texts,
            "e": st.floats(0, 1) | json_values,
            "threshold": st.none() | numbers,
            "reason": st.sampled_from(["score", "explore", "x"]),
            "propensity": st.floats(0, 1) | numbers,
            "offset": st.integers(0, 100) | numbers,
        }
    )
    form = objects(
        {
            "request_id": st.text("abcdef", max_size=10).map(lambda text: f"evil-{text}"),
            "ts": st.just(NOW_MS),
            "spec": st.text("0123456789abcdef", min_size=32, max_size=32),
            "features": st.just([1] * columns) | st.lists(numbers, max_size=5),
            "decision": decision,
            "weight": st.just(1.0) | numbers,
            "scenario": st.just(0) | numbers,
        }
    )
    return with_envelopes(st.one_of(form, damaged(form), formless))


_scenarios = st.one_of(
    st.just(b"*"),
    st.text(max_size=8).map(lambda text: f"s-{text}".encode("utf-8", "replace")),
    keys,
)


def control() -> st.SearchStrategy[Record]:
    """Control messages, some of which are valid and apply."""
    form = objects(
        {
            "rate": st.floats(0, 1),
            "capacity": st.none() | st.floats(1, 1e6) | st.sampled_from(["inf", "nan"]),
            "slack": st.floats(1, 100) | st.sampled_from([1e8, 1e308, 2**63]),
            "reward": st.sampled_from(["deal * 20 + cart", "+".join(["deal"] * 1000), "(" * 500]),
            "weights": st.dictionaries(st.sampled_from([*TASKS, "x"]), numbers, max_size=3),
            "kappa": st.floats(0, 10) | numbers,
            "explore": st.floats(0, 1),
            "direct_share": st.just("auto") | numbers,
            "consumption": st.none() | st.dictionaries(st.sampled_from(["least", "most"]), numbers),
        }
    )
    few = st.builds(lambda name, value: encoded({name: value}), st.sampled_from(
        ["rate", "capacity", "slack", "kappa", "explore", "weights", "reward", "consumption"]
    ), json_values)  # fmt: skip
    return with_envelopes(st.one_of(form, few, formless), _scenarios)


def consumption() -> st.SearchStrategy[Record]:
    """Consumption reports of budgets."""
    form = objects(
        {
            "budget": st.floats(0, 1e9),
            "spent": st.floats(0, 1e9),
            "start": st.just(NOW_MS),
            "end": st.just(NOW_MS + DAY_MS),
            "ts": st.integers(NOW_MS, NOW_MS + DAY_MS),
        }
    )
    return with_envelopes(st.one_of(form, formless), _scenarios)


_packed = st.sampled_from(["", "AAAAAA==", "AADAfw==", "AACAfwAAgH8=", "x", "A" * 9000])
_speeds = st.floats(0, 1e6) | numbers
_debts = st.floats(-100, 100) | numbers
_versions: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.dictionaries(
    st.text(max_size=5), numbers, max_size=40
)


def rate_states() -> st.SearchStrategy[Record]:
    """States of the fleet that no coordinator wrote."""
    form = objects(
        {
            "through": st.integers(0, 100) | numbers,
            "workers": st.integers(0, 9) | numbers,
            "per_second": _speeds,
            "debt": _debts,
            "held": _debts,
            "rewards": _packed,
            "above": _packed,
            "versions": _versions,
        }
    )
    return with_envelopes(st.one_of(form, formless), _scenarios)


def rate_summaries() -> st.SearchStrategy[Record]:
    """Summaries of workers that do not exist."""
    form = objects(
        {
            "worker": st.just("evil") | texts,
            "sequence": st.integers(0, 100) | numbers,
            "owed": _debts,
            "owed_before": _debts,
            "held": _debts,
            "drift": _debts,
            "per_second": _speeds,
            "rewards": _packed,
            "versions": _versions,
        }
    )
    return with_envelopes(st.one_of(form, formless), _scenarios)


def announcements() -> st.SearchStrategy[Record]:
    """Announcements of artifacts that do not exist or must not be opened."""
    urls = st.one_of(
        st.sampled_from(
            ["zip::x", "tar::x", "ftp://127.0.0.1/x", "generic::x", "http://127.0.0.1:9/x",
             "data:,x", "simplecache::file:///etc", "file:///etc", "/etc", "/dev/zero", "../..",
             "memory://x", "pretrained:openrtb", "pretrained:../x", "github://a:b@/x",
             "reference::x", ""]
        ),
        texts,
    )  # fmt: skip
    form = objects(
        {
            "version": st.just("evil") | texts,
            "url": urls,
            "manifest_sha256": st.just("0" * 64) | texts,
            "ts": st.just(NOW_MS),
            "metrics": st.just({}) | json_values,
            "by": st.just("a@b") | json_values,
            "cause": st.just("rollback") | json_values,
            "reason": st.just("r" * 5_000) | json_values,
            "previous": st.just("evil") | json_values,
        }
    )
    return with_envelopes(st.one_of(form, formless), st.just(b"default") | keys)
