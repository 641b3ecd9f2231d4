"""The compiled reader: one walk down each request, by a plan made once.

The extension ``_walk`` is optional. Where it is absent, :mod:`models.features.reader` reads the
same, column by column.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.features.columns import Steps, elements_of
from models.features.feature import Feature, path_of
from models.features.path import EACH, Step
from models.features.values import RowMemo, number_of, split_tags

if TYPE_CHECKING:
    from models.features._walk import Node, Op

try:
    from models.features import _walk
except ImportError:
    NATIVE = False
else:
    NATIVE = True
"""Whether the extension is there."""

# Kinds of ops, as _walk.c numbers them.
_NUMBER: Final = 0
_TIME: Final = 1
_ROW: Final = 2
_TAGS: Final = 3
_COUNT: Final = 4


class NativeReader:
    """Reads what hangs on paths: all features but crosses, and the numbers of the time features.

    Raises:
        ImportError: Without the extension.
    """

    def __init__(self, features: Sequence[Feature], times: Sequence[Steps]) -> None:
        if not NATIVE:
            raise ImportError(
                "models.features._walk is not built; a C compiler and pip install -e . build it"
            )
        self._columns = sum(feature.slots for feature in features)
        self._times = len(times)
        tree = _Tree()
        for row, steps in enumerate(times):
            tree.add(steps, (_TIME, row, 0, 0, None, None))
        missing_C = np.zeros(self._columns, np.int32)
        boundaries = array("d")
        for feature in features:
            missing_C[feature.column : feature.column + feature.slots] = feature.offset
            if feature.kind in ("numeric", "count"):
                _add_number(tree, feature, len(boundaries))
                boundaries.extend(feature.boundaries)
            elif feature.kind in ("categorical", "tags"):
                _add_hashed(tree, feature)
        self._plan = _walk.Plan(
            tuple(tree.nodes(1, 0)),
            missing_C.tobytes(),
            boundaries.tobytes(),
            len(times),
            number_of,
        )

    def read(
        self, requests: Sequence[dict[str, Any]]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """Ids of shape (C, N), those of time features and crosses not yet set; times (T, N)."""
        ids_NC = np.empty((len(requests), self._columns), np.int32)
        times_NT = np.empty((len(requests), self._times), np.float64)
        self._plan.fill(requests, ids_NC, times_NT)
        return ids_NC.T, times_NT.T


class _Tree:
    """Paths that share their beginnings."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.below: dict[Step, _Tree] = {}

    def add(self, steps: Steps, op: "Op") -> None:
        """Have ``op`` done with the value at ``steps``."""
        tree = self
        for step in steps:
            tree = tree.below.setdefault(step, _Tree())
        tree.ops.append(op)

    def nodes(self, depth: int, start: int) -> "list[Node]":
        """All below, in preorder; ``start`` is the number of the first."""
        found: list[Node] = []
        for step, tree in self.below.items():
            number = start + len(found)
            inner = tree.nodes(depth + 1, number + 1)
            found += [(step, depth, number + 1 + len(inner), tuple(tree.ops)), *inner]
        return found


def _add_number(tree: _Tree, feature: Feature, first: int) -> None:
    path, size = path_of(feature), len(feature.boundaries)
    if feature.kind == "numeric":
        tree.add(path.steps, (_NUMBER, feature.column, first, size, None, None))
        return
    star = path.steps.index(EACH)
    op: Op = (_COUNT, feature.column, first, size, None, _elements(path.steps[star + 1 :]))
    tree.add(path.steps[:star], op)


def _add_hashed(tree: _Tree, feature: Feature) -> None:
    path = path_of(feature)
    memo = RowMemo(feature.name, feature.size, feature.offset)
    if feature.kind == "categorical":
        tree.add(path.steps, (_ROW, feature.column, 0, 0, memo, None))
    elif feature.split:
        split = partial(split_tags, separator=feature.split)
        tree.add(path.steps, (_TAGS, feature.column, 0, feature.slots, memo, split))
    elif path.stars == 1:
        star = path.steps.index(EACH)
        for slot in range(feature.slots):
            steps = (*path.steps[:star], slot, *path.steps[star + 1 :])
            tree.add(steps, (_ROW, feature.column + slot, 0, 0, memo, None))
    else:
        star = path.steps.index(EACH)
        elements = _elements(path.steps[star + 1 :])
        op: Op = (_TAGS, feature.column, 0, feature.slots, memo, elements)
        tree.add(path.steps[:star], op)


def _elements(steps: Steps) -> Callable[[Any], list[Any]] | None:
    """From a list to all values below; None where those are as many as the list has."""
    return partial(elements_of, steps=steps) if EACH in steps else None
