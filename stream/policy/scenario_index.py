"""The scenario of a request, identified by a hash that is read with the features.

The scanner finds the value of ``policy.scenario_path`` as one more categorical feature, so that it
costs next to nothing: a row of 31 bits, by which the named scenarios are known. Two named ones
with the same row are refused; a request of another scenario is mistaken for a named one with a
probability of one in 2^31 per name.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.features.feature import Feature, Place
from models.features.kinds.categorical import CategoricalFeature
from models.features.path import Path, PathError
from models.features.values import RowMemo
from stream.policy.errors import PolicyError

_NAME: Final = "scenario"
_ROWS: Final = 2**31 - 1
_HASH: Final = RowMemo(_NAME, _ROWS, 0)


def scenario_feature(path: str, column: int) -> Feature:
    """The feature that reads a request's scenario.

    Args:
        path: Its path in the request, such as ``site.publisher.id``.
        column: The feature's column, after all others.

    Raises:
        PolicyError: If ``path`` is not a path to one value.
    """
    try:
        parsed = Path.parse(path)
    except PathError as error:
        raise PolicyError(f"policy.scenario_path: {error}") from error
    if parsed.stars:
        raise PolicyError(f"policy.scenario_path: {path!r} reaches many values; use [0], not [*]")
    return CategoricalFeature(
        name=_NAME, size=_ROWS, column=column, offset=0, places=(Place(parsed),)
    )


def scenario_row(name: str) -> int:
    """The row of the scenario feature in requests of this scenario."""
    return _HASH.row_of(name)


class ScenarioIndex:
    """Maps the rows of requests to numbers of named scenarios.

    Args:
        names: The named scenarios; they are numbered from 1 in this order.

    Attributes:
        names: The named scenarios.
        rows_K: Their rows.

    Raises:
        PolicyError: If two of them have the same row.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Sequence[str] = tuple(names)
        self.rows_K = np.array([scenario_row(name) for name in self.names], np.int32)
        order_K = np.argsort(self.rows_K, kind="stable")
        self._rows_K = self.rows_K[order_K]
        self._numbers_K = order_K + 1
        twins = np.flatnonzero(np.diff(self._rows_K) == 0)
        if len(twins):
            one, two = (self.names[order_K[twins[0] + step]] for step in (0, 1))
            raise PolicyError(f"scenarios {one!r} and {two!r} have the same hash; rename one")

    def numbers(self, rows_N: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
        """The number of each request's scenario, 0 if that has no name; shape (N,)."""
        if not self.names:
            return np.zeros(len(rows_N), np.intp)
        at_N = np.minimum(np.searchsorted(self._rows_K, rows_N), len(self._rows_K) - 1)
        return np.where(self._rows_K[at_N] == rows_N, self._numbers_K[at_N], 0)
