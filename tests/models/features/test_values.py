"""What a JSON value means to a feature."""

import math
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from models.features.values import (
    EARLIEST_S,
    LATEST_S,
    MEMO_ENTRIES,
    MEMO_TEXT,
    RowMemo,
    embedded_json,
    list_of,
    millisecond,
    milliseconds,
    number_of,
    split_tags,
    tags_of,
    text_of,
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("IAB1", "IAB1"),
        ("", None),
        (None, None),
        (True, "1"),
        (False, "0"),
        (300, "300"),
        (300.0, "300"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1e300, str(10**300)[:1] + str(int(1e300))[1:]),
        (math.inf, None),
        (math.nan, None),
        ([], None),
        ({"a": 1}, None),
    ],
)
def test_the_text_of_a_value(value: Any, expected: str | None) -> None:
    """Numbers that are whole have one form, however they are written."""
    assert text_of(value) == expected


@given(st.integers(-(2**53), 2**53))
def test_equal_numbers_have_equal_texts(number: int) -> None:
    """As Python considers them equal: 1, 1.0 and true."""
    assert text_of(number) == text_of(float(number)) == str(number)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7.0), (0.25, 0.25), (True, 1.0), ("300", 300.0), (" 1e3 ", 1000.0), ("-inf", -math.inf)],
)
def test_the_number_of_a_value(value: Any, expected: float) -> None:
    """A text counts as the number that it writes."""
    assert number_of(value) == expected


@pytest.mark.parametrize("value", [None, "", "x", "1,5", [], [1], {}, 10**400, math.nan])
def test_what_is_no_number_is_nan(value: Any) -> None:
    """Also a whole number that no float holds."""
    assert math.isnan(number_of(value))


def test_tags_and_lists() -> None:
    """Texts are cut at the separator, numbers stand alone, and objects are nothing."""
    assert split_tags(" a ;; b ", ";") == ["a", "b"]
    assert split_tags(5, ";") == split_tags(None, ";") == []
    assert tags_of("a|b,c", "|") == ["a", "b,c"]
    assert tags_of(7, ",") == [7]
    assert tags_of({"a": 1}, ",") == tags_of(None, ",") == []
    assert list_of("IAB1, IAB2") == ["IAB1", "IAB2"]
    assert list_of([{"a": 1}]) == [{"a": 1}]
    assert list_of(True) == [True]


def test_json_inside_a_text() -> None:
    """An object that is already one stays; what is not JSON is None."""
    assert embedded_json('{"ver": "1.2"}') == {"ver": "1.2"}
    assert embedded_json({"ver": 1}) == {"ver": 1}
    assert embedded_json("{broken") is None
    assert embedded_json(5) is None
    assert embedded_json(None) is None


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1_700_000_000, 1_700_000_000_000),
        (1_700_000_000.25, 1_700_000_000_250),
        (1_700_000_000_123, 1_700_000_000_123),
        (1_700_000_000_123_456, 1_700_000_000_123),
        (1_700_000_000_123_456_789, 1_700_000_000_123),
        ("1700000000", 1_700_000_000_000),
        (EARLIEST_S, 946_684_800_000),
        (EARLIEST_S - 1, None),
        (LATEST_S, None),
        (0, None),
        (-5, None),
        ("soon", None),
        (None, None),
    ],
)
def test_times_in_any_unit(time: Any, expected: int | None) -> None:
    """Seconds, ms, us and ns are told apart by their size; what is no time is None."""
    assert millisecond(time) == expected


@given(st.lists(st.floats(0, 5e18) | st.sampled_from([math.nan, math.inf, -1.0]), max_size=8))
def test_the_array_reads_times_as_single_values_are_read(times: list[float]) -> None:
    """To the whole millisecond; NaN for what is no time."""
    found_N = milliseconds(np.array(times, np.float64))
    for time, found in zip(times, found_N, strict=True):
        expected = millisecond(time)
        assert math.isnan(found) if expected is None else int(found) == expected


@given(st.text(min_size=1, max_size=20), st.text(max_size=8), st.integers(2, 1000))
def test_a_row_is_the_hash_of_the_text_seeded_by_the_name(text: str, name: str, size: int) -> None:
    """The definition, written out: xxh3_64 over UTF-8; the first row is "missing"."""
    seed = xxhash.xxh3_64_intdigest(name.encode())
    expected = 100 + 1 + xxhash.xxh3_64_intdigest(text.encode(), seed) % (size - 1)
    assert RowMemo(name, size, 100)[text] == expected


@given(st.lists(JSON, max_size=12))
def test_cached_rows_are_those_that_are_computed(values: list[Any]) -> None:
    """For any JSON, unhashable values included, and the second time as the first."""
    memo = RowMemo("site", 64, 5)
    expected = [RowMemo("site", 64, 5).row_of(value) for value in values]
    assert memo.rows(values, len(values)).tolist() == expected
    assert memo.rows(values, len(values)).tolist() == expected
    assert all(5 <= row < 5 + 64 for row in expected)


def test_what_has_no_text_is_missing() -> None:
    """Null, an empty text, a list; and, where asked for, an id that its owner withholds."""
    memo = RowMemo("ifa", 64, 7, zeros_missing=True)
    assert [memo.row_of(value) for value in (None, "", [], {}, math.nan)] == [7] * 5
    assert memo.row_of("00000000-0000-0000-0000-000000000000") == 7
    assert memo.row_of("00000000-0000-0000-0000-000000000001") > 7
    assert RowMemo("ifa", 64, 7).row_of("0000-00") > 7


def test_the_memory_of_a_memo_is_bounded() -> None:
    """Long texts are not kept, and a full memo starts again."""
    memo = RowMemo("site", 64, 0)
    long = "x" * (MEMO_TEXT + 1)
    assert memo[long] == memo.row_of(long)
    assert long not in memo
    for number in range(3 * MEMO_ENTRIES + 10):
        memo[str(number)]
    assert len(memo) == 10
