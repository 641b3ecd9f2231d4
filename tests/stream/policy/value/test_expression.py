from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.policy.errors import ExpressionError
from stream.policy.value.expression import Expression

NAMES = ("click", "online", "cart", "deal")
Pair = tuple[str, Callable[[dict[str, float]], float]]
"""An expression as text, fully bracketed at random, and an independent way to its value."""

numbers = st.sampled_from(["0", "2", "0.5", "3.", ".25", "1e-3", "1.5E2"])
leaves: st.SearchStrategy[Pair] = st.one_of(
    numbers.map(lambda text: (text, lambda _row: float(text))),
    st.sampled_from(NAMES).map(lambda name: (name, lambda row: row[name])),
)
OPERATIONS: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
    "+": (1, lambda a, b: a + b),
    "-": (1, lambda a, b: a - b),
    "*": (1, lambda a, b: a * b),
    "<": (1, lambda a, b: float(a < b)),
    ">=": (1, lambda a, b: float(a >= b)),
}


def grown(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    def binary(sign: str, left: Pair, right: Pair) -> Pair:
        operation = OPERATIONS[sign][1]
        return (
            f"({left[0]}) {sign}({right[0]})",
            lambda row: operation(left[1](row), right[1](row)),
        )

    def where(test: Pair, yes: Pair, no: Pair) -> Pair:
        return (
            f"where({test[0]}, {yes[0]}, {no[0]})",
            lambda row: yes[1](row) if test[1](row) != 0 else no[1](row),
        )

    def extreme(name: str, left: Pair, right: Pair) -> Pair:
        pick = min if name == "min" else max
        return f"{name}({left[0]},{right[0]})", lambda row: pick(left[1](row), right[1](row))

    return st.one_of(
        st.builds(binary, st.sampled_from(sorted(OPERATIONS)), inner, inner),
        st.builds(where, inner, inner, inner),
        st.builds(extreme, st.sampled_from(["min", "max"]), inner, inner),
        inner.map(lambda one: (f"-({one[0]})", lambda row: -one[1](row))),
        inner.map(lambda one: (f"abs( {one[0]} )", lambda row: abs(one[1](row)))),
    )


rows = st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5)


@given(pair=st.recursive(leaves, grown, max_leaves=12), table=rows)
def test_an_expression_has_the_value_that_its_structure_says(
    pair: Pair, table: list[list[float]]
) -> None:
    """Random trees, written as text and parsed again, give the value computed row by row."""
    values = Expression(pair[0], NAMES)(np.array(table).T)
    for row, value in zip(table, values, strict=True):
        assert value == pytest.approx(pair[1](dict(zip(NAMES, row, strict=True))), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("8 - 3 - 2", 3.0),
        ("16 / 4 / 2", 2.0),
        ("2 ** 3 ** 2", 512.0),
        ("-2 ** 2", -4.0),
        ("2 ** -1", 0.5),
        ("--3", 3.0),
        ("1 + 1 > 1", 1.0),
        ("2 * (1 < 1)", 0.0),
        ("clip(5, 0, 2) + sqrt(9) + log(1) + exp(0)", 6.0),
        ("min(4, 2, 3) + max(4, 2, 3)", 6.0),
        ("deal * 20 + cart", 20 * 0.5 + 0.25),
        ("where(click == 1, deal, cart)", 0.5),
    ],
)
def test_precedence_is_the_usual_one(text: str, value: float) -> None:
    """Operators bind and associate as everybody expects."""
    row = np.array([[1.0], [0.75], [0.25], [0.5]])
    assert Expression(text, NAMES)(row).tolist() == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("deal +", 7),
        ("deal deal", 6),
        ("1 + dael", 5),
        ("__import__('os')", 12),
        ("deal.real", 5),
        ("deal[0]", 5),
        ("open(deal)", 1),
        ("min + 1", 1),
        ("(deal", 6),
        ("deal)", 5),
        ("click < deal < cart", 14),
        ("sqrt(1, 2)", 1),
        ("min(1)", 1),
        ("deal if cart else 1", 6),
        ("lambda: 1", 7),
        ("1 = 1", 3),
        ("  @", 3),
        ("²", 1),
        ("(" * 60 + "1" + ")" * 60, 51),
        ("-" * 60 + "1", 51),
        ("2**" * 60 + "1", 151),
    ],
)
def test_anything_else_is_refused_with_its_column(text: str, column: int) -> None:
    """What is not arithmetic, a comparison or a named function names the place of the offence."""
    with pytest.raises(ExpressionError, match=rf"policy\.reward: column {column} of") as caught:
        Expression(text, NAMES)
    assert caught.value.column == column


@given(text=st.text(max_size=30))
def test_arbitrary_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser fail in any other way."""
    try:
        expression = Expression(text, NAMES)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert expression(np.ones((4, 3))).shape == (3,)


def test_a_constant_is_a_value_per_request_and_faults_are_not_raised() -> None:
    """A number fills the array; a division by zero is inf or NaN, left to the controller."""
    assert Expression("2", NAMES)(np.ones((4, 3))).tolist() == [2.0, 2.0, 2.0]
    values = Expression("cart / 0 + log(0 - deal)", NAMES)(np.ones((4, 2)))
    assert np.isnan(values).all()
