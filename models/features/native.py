"""The compiled scanner: from the bytes of bid requests to ids, by a plan made once.

The extension ``_scan`` is optional, and it may give up on any value. What it does not read,
:mod:`models.features.reader` reads once it is decoded; both give the same.
"""

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.features.columns import Steps
from models.features.feature import Feature, Part, path_of
from models.features.path import EACH, Step
from models.features.values import name_seed

try:
    from models.features import _scan
except ImportError:
    NATIVE = False
else:
    NATIVE = True
"""Whether the extension is there."""

# Types of values, kinds of ops and parts of the calendar, as _scan.c numbers them.
_TEXT: Final = 1
_NOTHING: Final = 8
_OBJECT: Final = 16
_LIST: Final = 32
_ANY: Final = 63
_BUCKET, _TIME, _ROW, _NEXT, _TAG, _SPLIT, _IDENTITY, _DEMAND = range(8)
_PARTS: Final[tuple[Part, ...]] = ("hour-of-day", "day-of-week", "hour-of-week")

_HAS_ID: Final = 1
_HAS_IMP: Final = 2

Op = tuple[int, int, int, int, int, int, int]
"""kind, column, first, size, buckets, seed, length."""


class NativeScanner:
    """Reads ids and features of bid requests from their bytes.

    Args:
        features: Those of the spec, in order.

    Raises:
        ImportError: Without the extension.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        if not NATIVE:
            raise ImportError(
                "models.features._scan is not built; with a C compiler, pip install -e . builds it"
            )
        self._plan = _Planner(features).plan()

    def scan(
        self,
        values: Sequence[bytes | None],
        max_bytes: int,
        ids_NC: npt.NDArray[np.int32],
        hashes_N: npt.NDArray[np.uint64],
    ) -> list[str | None]:
        """The id of each value that is a bid request of at most ``max_bytes`` bytes.

        None for what is none, and for whatever else it gives up on. Ids of features and the
        xxh3_64 of the request's id are written where there is one.
        """
        return self._plan.scan(values, max_bytes, ids_NC, hashes_N)


class _Tree:
    """Paths that share their beginnings."""

    def __init__(self) -> None:
        self.types = _ANY
        self.ops: list[Op] = []
        self.below: dict[Step, _Tree] = {}

    def at(self, *steps: Step) -> "_Tree":
        """The tree below a path."""
        tree = self
        for step in steps:
            tree = tree.below.setdefault(step, _Tree())
        return tree


class _Planner:
    """Writes the plan of a spec, as records of unsigned words."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._root = _Tree()
        self._nodes: list[list[int]] = [[0] * 7]
        self._ops: list[Op] = []
        self._fields: list[tuple[int, int, int, int]] = []
        self._elements: list[tuple[int, int]] = []
        self._names = b""
        self._boundaries = array("d")
        self._missing_C = array("i", [f.offset for f in features for _ in range(f.slots)])
        self._slots: dict[Steps, int] = {}
        self._times: list[tuple[int, Steps, Steps | None, int]] = []
        self._counts: list[tuple[int, int, int, int]] = []
        self._counters = 0
        self._columns = {feature.name: feature.column for feature in features}
        self._crosses: list[tuple[int, int, int, int, int]] = []
        self._parts: list[int] = []
        _expect_a_request(self._root)
        for feature in features:
            self._add(feature)

    def plan(self) -> "_scan.Plan":
        """What the scanner follows."""
        self._write((self._root,))
        unknown = len(self._slots)
        times = [
            (column, self._slots[time], unknown if shift is None else self._slots[shift], part)
            for column, time, shift, part in self._times
        ]
        arrays = (
            _words(self._nodes),
            _words(self._ops),
            _words(self._fields),
            _words(self._elements),
            self._names,
            self._boundaries.tobytes(),
            self._missing_C.tobytes(),
            _words(times),
            _words(self._counts),
            _words(self._crosses),
            _words([self._parts]),
        )
        return _scan.Plan(arrays, len(self._slots), self._counters, _HAS_ID | _HAS_IMP)

    def _add(self, feature: Feature) -> None:
        match feature.kind:
            case "numeric":
                first, size = self._bounds(feature)
                op = (_BUCKET, feature.column, first, size, 0, 0, 0)
                self._root.at(*path_of(feature).steps).ops.append(op)
            case "count":
                counter = self._counter(path_of(feature).steps)
                self._counts.append((feature.column, counter, *self._bounds(feature)))
            case "time":
                self._add_time(feature)
            case "cross":
                start = len(self._parts)
                self._parts += [self._columns[part] for part in feature.parts]
                seed, stop = name_seed(feature.name), len(self._parts)
                self._crosses.append((feature.column, seed, feature.size - 1, start, stop))
            case _:
                self._add_hashed(feature)

    def _add_time(self, feature: Feature) -> None:
        shift = feature.utc_offset.steps if feature.utc_offset is not None else None
        time = path_of(feature).steps
        assert feature.part is not None
        self._times.append((feature.column, time, shift, _PARTS.index(feature.part)))
        for steps in (time, shift):
            if steps is not None and steps not in self._slots:
                op = (_TIME, len(self._slots), 0, 0, 0, 0, 0)
                self._slots[steps] = len(self._slots)
                self._root.at(*steps).ops.append(op)

    def _add_hashed(self, feature: Feature) -> None:
        column, steps = feature.column, path_of(feature).steps
        by = (feature.size - 1, name_seed(feature.name))
        if feature.kind == "categorical":
            self._root.at(*steps).ops.append((_ROW, column, 0, 1, *by, 0))
        elif feature.split:
            separator = feature.split.encode()
            op = (_SPLIT, column, self._name(separator), feature.slots, *by, len(separator))
            self._root.at(*steps).ops.append(op)
        elif steps.count(EACH) == 1:
            star = steps.index(EACH)
            for slot in range(feature.slots):
                tree = self._root.at(*steps[:star], slot, *steps[star + 1 :])
                tree.ops.append((_ROW, column + slot, 0, 1, *by, 0))
        else:
            inner = len(steps) - steps[::-1].index(EACH)
            counter = self._counter(steps[:inner])
            self._root.at(*steps).ops.append((_TAG, column, counter, feature.slots, *by, 0))

    def _counter(self, steps: Steps) -> int:
        """A new counter of the elements that a path ending in [*] reaches."""
        self._root.at(*steps).ops.append((_NEXT, self._counters, 0, 0, 0, 0, 0))
        self._counters += 1
        return self._counters - 1

    def _bounds(self, feature: Feature) -> tuple[int, int]:
        first = len(self._boundaries)
        self._boundaries.extend(feature.boundaries)
        return first, len(feature.boundaries)

    def _name(self, name: bytes) -> int:
        self._names += name
        return len(self._names) - len(name)

    def _write(self, trees: tuple[_Tree, ...]) -> int:
        """The node of a place in a request that lies on the paths of all ``trees``; 0 for none.

        A list's first element is reached both by [0] and by [*].
        """
        if not trees:
            return 0
        number, first = len(self._nodes), len(self._ops)
        self._nodes.append([])
        types = _ANY
        for tree in trees:
            types &= tree.types
            self._ops += tree.ops
        ops = (first, len(self._ops))
        steps = dict.fromkeys(step for tree in trees for step in tree.below)
        for step in steps:
            if isinstance(step, str):
                name = step.encode()
                node = self._write(_below(trees, step))
                self._fields.append((number, self._name(name), len(name), node))
        each = _below(trees, EACH)
        indices = sorted(step for step in steps if isinstance(step, int) and step != EACH)
        elements = [(index, self._write(_below(trees, index) + each)) for index in indices]
        rest = self._write(each)
        start = len(self._elements)
        self._elements += elements
        self._nodes[number] = [types, *ops, 0, start, len(self._elements), rest]
        return number


def _below(trees: tuple[_Tree, ...], step: Step) -> tuple[_Tree, ...]:
    return tuple(tree.below[step] for tree in trees if step in tree.below)


def _expect_a_request(root: _Tree) -> None:
    """Have the scanner give up on all that stream.events.decode rejects."""
    root.types = _OBJECT
    root.at("id").types = _TEXT
    root.at("id").ops += [(_IDENTITY, 0, 0, 0, 0, 0, 0), (_DEMAND, _HAS_ID, 0, 0, 0, 0, 0)]
    root.at("imp").types = _LIST
    root.at("imp", EACH).types = _OBJECT
    root.at("imp", EACH).ops.append((_DEMAND, _HAS_IMP, 0, 0, 0, 0, 0))
    for name in ("site", "app", "device", "user"):
        root.at(name).types = _OBJECT | _NOTHING


def _words(records: Sequence[Sequence[int]]) -> bytes:
    """Records as unsigned words of 64 bits."""
    return array("Q", [word for record in records for word in record]).tobytes()
