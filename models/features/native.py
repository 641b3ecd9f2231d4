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
from models.features.feature import Feature, Part, path_of
from models.features.path import EACH, Step
from models.features.values import RowMemo, name_seed, number_of, split_tags

if TYPE_CHECKING:
    from models.features._walk import Cross, Node, Op, Time

try:
    from models.features import _walk
except ImportError:
    NATIVE = False
else:
    NATIVE = True
"""Whether the extension is there."""

# Kinds of ops and parts of the calendar, as _walk.c numbers them.
_NUMBER: Final = 0
_TIME: Final = 1
_ROW: Final = 2
_TAGS: Final = 3
_COUNT: Final = 4


_PARTS: Final[tuple[Part, ...]] = ("hour-of-day", "day-of-week", "hour-of-week")


class NativeReader:
    """Reads the features of one spec.

    Raises:
        ImportError: Without the extension.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        if not NATIVE:
            raise ImportError(
                "models.features._walk is not built; with a C compiler, pip install -e . builds it"
            )
        self._columns = sum(feature.slots for feature in features)
        self._plan = _plan(features)

    def read(self, requests: Sequence[dict[str, Any]]) -> npt.NDArray[np.int32]:
        """Ids of shape (N, C)."""
        ids_NC = np.empty((len(requests), self._columns), np.int32)
        self._plan.fill(requests, ids_NC)
        return ids_NC


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


def _plan(features: Sequence[Feature]) -> "_walk.Plan":
    tree, slots = _Tree(), dict[Steps, int]()
    missing_C = [f.offset for f in features for _ in range(f.slots)]
    boundaries = array("d")
    times: list[Time] = []
    for feature in features:
        if feature.kind in ("numeric", "count"):
            _add_number(tree, feature, len(boundaries))
            boundaries.extend(feature.boundaries)
        elif feature.kind == "time":
            times.append(_time(feature, slots))
        elif feature.kind != "cross":
            _add_hashed(tree, feature)
    for steps, slot in slots.items():
        tree.add(steps, (_TIME, slot, 0, 0, None, None))
    return _walk.Plan(
        tuple(tree.nodes(1, 0)),
        array("i", missing_C).tobytes(),
        boundaries.tobytes(),
        len(slots),
        tuple(times),
        _crosses(features),
        number_of,
    )


def _time(feature: Feature, slots: dict[Steps, int]) -> "Time":
    """The feature as times of the plan have it; paths not yet among ``slots`` are added."""
    time = slots.setdefault(path_of(feature).steps, len(slots))
    shift = -1
    if feature.utc_offset is not None:
        shift = slots.setdefault(feature.utc_offset.steps, len(slots))
    assert feature.part is not None
    return feature.column, time, shift, _PARTS.index(feature.part)


def _crosses(features: Sequence[Feature]) -> "tuple[Cross, ...]":
    columns = {feature.name: feature.column for feature in features}
    return tuple(
        (f.column, name_seed(f.name), f.size - 1, tuple(columns[part] for part in f.parts))
        for f in features
        if f.kind == "cross"
    )


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
