"""Arithmetic expressions of task names, such as ``deal * 20 + where(click > 0.5, cart, 0)``.

Text becomes tokens, tokens become a checked tree by precedence climbing, and the tree is
evaluated on arrays. Everything but arithmetic, comparisons and named functions is refused, with
the column of the fault. Nothing is ever passed to Python's own evaluator.

Precedence, weakest first: comparisons (1 or 0, not chained); ``+ -``; ``* /``; unary ``-``;
``**`` (from right to left). Functions: min, max, abs, sqrt, log, exp, clip, where.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.bounds import MAX_REWARD_TOKENS
from stream.policy.errors import ExpressionError

Array = npt.NDArray[np.float64]
Node = Callable[[Array], Any]
"""A checked node: from tasks_TN, one row per task, to an array of shape (N,) or a number."""

FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "min": (lambda *args: _reduce(np.minimum, args), 2, 16),
    "max": (lambda *args: _reduce(np.maximum, args), 2, 16),
    "abs": (np.abs, 1, 1),
    "sqrt": (np.sqrt, 1, 1),
    "log": (np.log, 1, 1),
    "exp": (np.exp, 1, 1),
    "clip": (lambda x, low, high: np.minimum(np.maximum(x, low), high), 3, 3),
    "where": (lambda test, yes, no: np.where(np.asarray(test) != 0, yes, no), 3, 3),
}
"""Function, fewest and most arguments."""

_COMPARISONS: Final[dict[str, Callable[..., Any]]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_SUMS: Final[dict[str, Callable[..., Any]]] = {"+": np.add, "-": np.subtract}
_PRODUCTS: Final[dict[str, Callable[..., Any]]] = {"*": np.multiply, "/": np.divide}
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|<=|>=|==|!=|[-+*/<>(),]))",
    re.ASCII,
)
_DEEPEST: Final = 50
"""Levels of brackets; a long sum is as deep as it has terms, which its tokens bound."""


class Expression:
    """A checked expression.

    Args:
        text: The expression.
        names: The names it may use, in the order of the rows it is evaluated on.

    Raises:
        ExpressionError: If the text is not such an expression.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self._root = _Parser(text, names).parse()

    def __call__(self, tasks_TN: Array) -> Array:
        """Evaluate on arrays; a division by zero or a log of it gives inf or NaN, silently.

        Args:
            tasks_TN: One row per name.

        Returns:
            Values of shape (N,).
        """
        with np.errstate(all="ignore"):
            value = np.asarray(self._root(tasks_TN), np.float64)
        return np.broadcast_to(value, tasks_TN.shape[1:]).copy()


def _reduce(operation: Callable[..., Any], args: Sequence[Any]) -> Any:
    value = args[0]
    for arg in args[1:]:
        value = operation(value, arg)
    return value


def _binary(operation: Callable[..., Any], left: Node, right: Node) -> Node:
    return lambda tasks_TN: operation(left(tasks_TN), right(tasks_TN)) + 0.0


class _Parser:
    """Tokens with their columns, and one method per level of precedence."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self._text = text
        self._names = list(names)
        self._tokens = self._scan()
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._comparison()
        kind, word, column = self._tokens[self._at]
        if kind != "end":
            raise self._error(column, f"{word!r} does not belong here")
        return node

    def _scan(self) -> list[tuple[str, str, int]]:
        tokens = []
        end = len(self._text.rstrip())
        position = 0
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None:
                rest = self._text[position:]
                column = position + len(rest) - len(rest.lstrip()) + 1
                raise self._error(column, f"{self._text[column - 1]!r} is not allowed")
            kind = match.lastgroup or ""
            tokens.append((kind, match[kind], match.start(kind) + 1))
            position = match.end()
            if len(tokens) > MAX_REWARD_TOKENS:
                fault = f"more than {MAX_REWARD_TOKENS} numbers, names and signs; shorten it"
                raise self._error(position, fault)
        tokens.append(("end", "", end + 1))
        return tokens

    def _error(self, column: int, fault: str) -> ExpressionError:
        return ExpressionError(self._text, column, fault)

    def _take(self, signs: dict[str, Callable[..., Any]]) -> Callable[..., Any] | None:
        kind, word, _ = self._tokens[self._at]
        if kind != "sign" or word not in signs:
            return None
        self._at += 1
        return signs[word]

    def _expect(self, sign: str) -> None:
        kind, word, column = self._tokens[self._at]
        if kind != "sign" or word != sign:
            found = repr(word) if word else "the end"
            raise self._error(column, f"{sign!r} expected, {found} found")
        self._at += 1

    def _comparison(self) -> Node:
        left = self._sum()
        operation = self._take(_COMPARISONS)
        if operation is None:
            return left
        node = _binary(operation, left, self._sum())
        _, word, column = self._tokens[self._at]
        if word in _COMPARISONS:
            raise self._error(column, "comparisons do not chain; multiply two of them instead")
        return node

    def _sum(self) -> Node:
        node = self._product()
        while (operation := self._take(_SUMS)) is not None:
            node = _binary(operation, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._unary()
        while (operation := self._take(_PRODUCTS)) is not None:
            node = _binary(operation, node, self._unary())
        return node

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(self._tokens[self._at][2], f"nested deeper than {_DEEPEST}")
        if self._take({"-": np.negative}) is not None:
            operand = self._unary()
            node: Node = lambda tasks_TN: -operand(tasks_TN)  # noqa: E731
        else:
            node = self._power()
        self._depth -= 1
        return node

    def _power(self) -> Node:
        base = self._atom()
        operation = self._take({"**": np.power})
        return base if operation is None else _binary(operation, base, self._unary())

    def _atom(self) -> Node:
        kind, word, column = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            number = np.float64(word)
            if not np.isfinite(number):
                raise self._error(column, f"{word[:20]} is too large for a number")
            return lambda _tasks_TN: number
        if kind == "name":
            return self._named(word, column)
        if word == "(":
            node = self._comparison()
            self._expect(")")
            return node
        found = repr(word) if word else "the end"
        raise self._error(column, f"a number, a task or a function expected, {found} found")

    def _named(self, word: str, column: int) -> Node:
        called = self._tokens[self._at][1] == "("
        if called and word in FUNCTIONS:
            return self._call(word, column)
        if called or word not in self._names:
            raise self._error(
                column,
                f"{word!r} is not known; tasks are {', '.join(self._names)}; "
                f"functions are {', '.join(FUNCTIONS)}",
            )
        row = self._names.index(word)
        return lambda tasks_TN: tasks_TN[row]

    def _call(self, word: str, column: int) -> Node:
        function, fewest, most = FUNCTIONS[word]
        self._expect("(")
        args = [self._comparison()]
        while self._take({",": np.add}) is not None:
            args.append(self._comparison())
        self._expect(")")
        if not fewest <= len(args) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise self._error(column, f"{word} takes {wanted} arguments, {len(args)} given")
        return lambda tasks_TN: function(*[arg(tasks_TN) for arg in args])
