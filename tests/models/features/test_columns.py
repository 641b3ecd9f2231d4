"""Columns of values, against a reference that follows a path through one request at a time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features.columns import Columns
from models.features.lenient_json import loads
from models.features.path import EACH, INSIDE, Path, Steps

NAMES = ("a", "b", "c")
TEXTS = ("", "x", " x, y ,,z ", '{"a": [1, {"b": "x"}]}', '{"a": {"b": 1}}', "[1, 2]", "{broken")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=12,
)
REQUESTS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), max_size=5)
NAME = st.sampled_from(NAMES)
PLAIN = st.lists(NAME | st.integers(0, 2) | st.just(INSIDE), max_size=4)
ONE = st.builds(lambda first, rest: (first, *rest), NAME, PLAIN)
ANY_STEP = NAME | st.integers(0, 2) | st.sampled_from([INSIDE, EACH, EACH])
MANY = st.builds(lambda head, tail: (*head, EACH, *tail), ONE, st.lists(ANY_STEP, max_size=4))


def as_list(value: Any) -> list[Any]:
    """A list as it is; the tags of a text; a number alone; nothing of anything else."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    return [value] if isinstance(value, int | float) else []


def one_step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, dict) else None
    if step == INSIDE:
        if isinstance(value, dict):
            return value
        try:
            return loads(value) if isinstance(value, str) else None
        except ValueError:
            return None
    values = as_list(value)
    return values[step] if step < len(values) else None


def follow(value: Any, steps: Steps) -> list[Any]:
    """The values that the steps reach; exactly one if there is no ``[*]`` among them."""
    for number, step in enumerate(steps):
        if step == EACH:
            rest = steps[number + 1 :]
            return [found for inner in as_list(value) for found in follow(inner, rest)]
        value = one_step(value, step)
    return [value]


@given(REQUESTS, st.lists(ONE, min_size=1, max_size=4))
def test_a_path_reaches_one_value_of_each_request(
    requests: list[dict[str, Any]], paths: list[Steps]
) -> None:
    """In any order of reading: what paths share is looked up once, and that changes nothing."""
    columns = Columns(requests)
    for steps in paths:
        expected = [follow(request, steps)[0] for request in requests]
        assert list(columns.values(steps)) == expected
        assert columns.lists(steps) == [as_list(value) for value in expected]


@given(REQUESTS, st.lists(MANY, min_size=1, max_size=4))
def test_a_path_with_a_star_reaches_a_list_of_values(
    requests: list[dict[str, Any]], paths: list[Steps]
) -> None:
    """All of them, in their order in the request; None where an element lacks the field."""
    columns = Columns(requests)
    for steps in paths:
        assert columns.elements(steps) == [follow(request, steps) for request in requests]


@given(REQUESTS, st.lists(ONE | MANY, min_size=1, max_size=4))
def test_nothing_is_said_only_where_no_request_has_a_value(
    requests: list[dict[str, Any]], paths: list[Steps]
) -> None:
    """A reader that skips a path of which nothing is known misses no value."""
    columns = Columns(requests)
    for steps in paths:
        if steps[-1] != INSIDE and columns.nothing_at(steps):
            reached = [value for request in requests for value in follow(request, steps)]
            assert [value for value in reached if value is not None] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("site.id", ["s", None, None]),
        ("imp[0].w", [1, None, 5]),
        ("imp[1].w", [2, None, None]),
        ("site.cat[0]", ["IAB1", "IAB1", None]),
        ("site.cat[1]", ["IAB2", "IAB3", None]),
        ("native{}.ver", [None, "1.2", None]),
    ],
)
def test_values_by_hand(path: str, expected: list[Any]) -> None:
    """Lists, a text in place of a list, JSON inside a text, and types that no path assumes."""
    requests: list[dict[str, Any]] = [
        {"site": {"id": "s", "cat": ["IAB1", "IAB2"]}, "imp": [{"w": 1}, {"w": 2}], "native": 5},
        {"site": {"cat": "IAB1, IAB3"}, "imp": {}, "native": '{"ver": "1.2"}'},
        {"site": "text", "imp": [{"w": 5}], "native": "{broken"},
    ]
    assert list(Columns(requests).values(Path.parse(path).steps)) == expected


def test_the_default_stands_for_what_does_not_exist() -> None:
    """Not for a null that is there."""
    columns = Columns([{"a": {"b": None}}, {"a": {}}, {}])
    assert list(columns.values(("a", "b"), -1)) == [None, -1, -1]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a[*]", [[[1, 2], [3], "x, y", None], [], [7]]),
        ("a[*][*]", [[1, 2, 3, "x", "y"], [], [7]]),
        ("a[*][1]", [[2, None, "y", None], [], [None]]),
        ("a[*].b", [[None, None, None, None], [], [None]]),
        ("b[*].c[*]", [[], [1, 2, 3], ["x", "y"]]),
        ("b[*].c[*].d", [[], [None, None, None], [None, None]]),
    ],
)
def test_elements_by_hand(path: str, expected: list[list[Any]]) -> None:
    """Lists in lists are joined in order, and what is no list counts as a list of its own."""
    requests: list[dict[str, Any]] = [
        {"a": [[1, 2], [3], "x, y", None], "b": {}},
        {"a": {}, "b": [{"c": [1, 2]}, {}, {"c": 3}]},
        {"a": 7, "b": [{"c": "x, y"}]},
    ]
    assert Columns(requests).elements(Path.parse(path).steps) == expected
