"""The compiled scanner: from the bytes of bid requests to ids, by a plan made once.

The extension ``_scan`` is optional, and it may give up on any value. What it does not read,
:mod:`models.features.column_reader` reads once it is decoded; both give the same.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.features.bid_request import ID, REQUIRED_FIELDS
from models.features.feature import Feature, Part
from models.features.layout import Layout, Reading, Steps
from models.features.path import EACH, INSIDE, Step
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
_NUMBER: Final = 2
_BOOLEAN: Final = 4
_OBJECT: Final = 16
_LIST: Final = 32
_ANY: Final = 63
_ALL_REQUIRED: Final = (1 << len(REQUIRED_FIELDS)) - 1
"""A bit for each required field that a request has."""
_TYPES: Final[Mapping[type, int]] = {str: _TEXT, dict: _OBJECT, list: _LIST}
_BUCKET, _TIME, _ROW, _NEXT, _TAG, _SPLIT, _PARTS, _INSIDE, _IDENTITY, _DEMAND = range(10)
_CALENDAR: Final[tuple[Part, ...]] = ("hour-of-day", "day-of-week", "hour-of-week")

_RECORD: Final = 0
"""Where a scan puts the timestamp of a value's record among the times that it reads."""
_COMMA: Final = b","

Op = tuple[int, int, int, int, int, int, int, int]
"""kind, column, first, size, buckets, seed, counter, flag."""


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
        times_N: npt.NDArray[np.int64],
        max_bytes: int,
        ids_NC: npt.NDArray[np.int32],
        hashes_N: npt.NDArray[np.uint64],
    ) -> list[str | None]:
        """The id of each value that is a bid request of at most ``max_bytes`` bytes.

        None for what is none, and for whatever else it gives up on. Ids of features and the
        xxh3_64 of the request's id are written where there is one.
        """
        return self._plan.scan(values, max_bytes, times_N, ids_NC, hashes_N)


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
        layout = Layout(features)
        self._root = _Tree()
        self._nodes: list[list[int]] = [[0] * 7]
        self._ops: list[Op] = []
        self._fields: list[tuple[int, int, int, int]] = []
        self._elements: list[tuple[int, int]] = []
        self._names = b""
        self._boundaries = array("d")
        self._seen = layout.seen
        self._missing_E = array("i", layout.missing)
        self._slots: dict[Steps, int] = {}
        self._times: list[tuple[int, int, int, int, int]] = []
        self._choices: list[int] = []
        self._counts: list[tuple[int, int, int, int]] = []
        self._counters = 0
        self._fallbacks = [
            (each.feature.column, each.column, each.feature.slots) for each in layout.fallbacks
        ]
        columns = {feature.name: feature.column for feature in features}
        self._crosses: list[tuple[int, int, int, int, int]] = []
        self._parts: list[int] = []
        _expect_a_request(self._root)
        for reading in layout.readings:
            self._add(reading)
        for feature in features:
            if feature.kind == "time":
                self._add_time(feature)
            elif feature.kind == "cross":
                start = len(self._parts)
                self._parts += [columns[part] for part in feature.parts]
                seed, stop = name_seed(feature.name), len(self._parts)
                self._crosses.append((feature.column, seed, feature.size - 1, start, stop))

    def plan(self) -> "_scan.Plan":
        """What the scanner follows."""
        self._write((self._root,))
        arrays = (
            _words(self._nodes),
            _words(self._ops),
            _words(self._fields),
            _words(self._elements),
            self._names,
            self._boundaries.tobytes(),
            self._missing_E.tobytes(),
            _words(self._times),
            _words([self._choices]),
            _words(self._counts),
            _words(self._fallbacks),
            _words(self._crosses),
            _words([self._parts]),
        )
        times = 1 + len(self._slots)
        return _scan.Plan(arrays, self._seen, times, self._counters, _ALL_REQUIRED)

    def _add(self, reading: Reading) -> None:
        steps, column = reading.steps, reading.column
        match reading.feature.kind:
            case "numeric":
                first, size = self._bounds(reading)
                self._at(steps).ops.append((_BUCKET, column, first, size, 0, 0, 0, 0))
                self._expect_lists(steps)
            case "count":
                counter = self._counter(steps)
                self._counts.append((column, counter, *self._bounds(reading)))
                comma, length = self._comma()
                self._container(steps).ops.append((_PARTS, 0, comma, 0, 0, 0, counter, length))
                self._expect_lists(steps[:-1])
            case "categorical":
                self._add_categorical(reading)
            case _:
                self._add_tags(reading)

    def _add_time(self, feature: Feature) -> None:
        assert feature.part is not None
        start = len(self._choices)
        for place in feature.places:
            self._choices.append(self._time_slot(place.path.steps))
        if feature.record_time:
            self._choices.append(_RECORD)
        middle = len(self._choices)
        self._choices += [self._time_slot(path.steps) for path in feature.utc_offset]
        part = _CALENDAR.index(feature.part)
        self._times.append((feature.column, start, middle, len(self._choices), part))

    def _time_slot(self, steps: Steps) -> int:
        if steps not in self._slots:
            self._slots[steps] = 1 + len(self._slots)
            self._at(steps).ops.append((_TIME, self._slots[steps], 0, 0, 0, 0, 0, 0))
            self._expect_lists(steps)
        return self._slots[steps]

    def _add_categorical(self, reading: Reading) -> None:
        feature, steps, column = reading.feature, reading.steps, reading.column
        by = (feature.size - 1, name_seed(feature.name))
        flag = int(feature.zeros_missing)
        self._at(steps).ops.append((_ROW, column, 0, 1, *by, 0, flag))
        if steps[-1] == 0 and not flag and EACH not in steps:
            counter = self._new_counter()
            op = (_SPLIT, column, self._comma()[0], 1, *by, counter, len(_COMMA))
            self._container(steps).ops.append(op)
            self._expect_lists(steps[:-1])
        else:
            self._expect_lists(steps)

    def _add_tags(self, reading: Reading) -> None:
        feature, steps, column = reading.feature, reading.steps, reading.column
        by = (feature.size - 1, name_seed(feature.name))
        separator = feature.split.encode() or _COMMA

        def split(counter: int) -> Op:
            first = self._name(separator)
            return (_SPLIT, column, first, feature.slots, *by, counter, len(separator))

        if feature.split:
            op = split(self._new_counter())
            self._at(steps).ops.append(op)
            self._at((*steps, EACH)).ops.append(op)
            self._expect_lists(steps)
        elif steps.count(EACH) == 1:
            star = steps.index(EACH)
            for slot in range(feature.slots):
                tree = self._at((*steps[:star], slot, *steps[star + 1 :]))
                tree.ops.append((_ROW, column + slot, 0, 1, *by, 0, 0))
            if steps[-1] == EACH:
                self._container(steps).ops.append(split(self._new_counter()))
                self._expect_lists(steps[:-1])
            else:
                self._expect_lists(steps)
        else:
            inner = len(steps) - steps[::-1].index(EACH)
            counter = self._counter(steps[:inner])
            self._at(steps).ops.append((_TAG, column, 0, feature.slots, *by, counter, 0))
            if steps[-1] == EACH:
                self._container(steps).ops.append(split(counter))
                self._expect_lists(steps[:-1])
            else:
                self._expect_lists(steps)

    def _at(self, steps: Steps) -> _Tree:
        return self._root.at(*steps)

    def _container(self, steps: Steps) -> _Tree:
        """The list that a path ends in."""
        return self._at(steps[:-1])

    def _expect_lists(self, steps: Steps) -> None:
        """Give up where a text or number stands for a list whose elements are no objects."""
        for depth, step in enumerate(steps):
            below = steps[depth + 1 : depth + 2]
            if isinstance(step, int) and step != INSIDE and not isinstance((*below, 0)[0], str):
                self._at(steps[:depth]).types &= ~(_TEXT | _NUMBER | _BOOLEAN)

    def _new_counter(self) -> int:
        self._counters += 1
        return self._counters - 1

    def _counter(self, steps: Steps) -> int:
        """A new counter of the elements that a path ending in [*] reaches."""
        counter = self._new_counter()
        self._at(steps).ops.append((_NEXT, counter, 0, 0, 0, 0, 0, 0))
        return counter

    def _bounds(self, reading: Reading) -> tuple[int, int]:
        first = len(self._boundaries)
        self._boundaries.extend(reading.boundaries)
        return first, len(reading.boundaries)

    def _comma(self) -> tuple[int, int]:
        return self._name(_COMMA), len(_COMMA)

    def _name(self, name: bytes) -> int:
        self._names += name
        return len(self._names) - len(name)

    def _write(self, trees: tuple[_Tree, ...]) -> int:
        """The node of a place in a request that lies on the paths of all ``trees``; 0 for none.

        A list's first element is reached both by [0] and by [*], what is inside of a text as if
        it stood in the text's place.
        """
        if not trees:
            return 0
        number, first = len(self._nodes), len(self._ops)
        self._nodes.append([])
        types = _ANY
        for tree in trees:
            types &= tree.types
            self._ops += tree.ops
        inner = _below(trees, INSIDE)
        if inner:
            self._ops.append((_INSIDE, 0, 0, 0, 0, 0, 0, 0))
            if any(isinstance(step, str) for tree in trees for step in tree.below):
                types &= ~_TEXT
            trees += inner
        ops = (first, len(self._ops))
        steps = dict.fromkeys(step for tree in trees for step in tree.below if step != INSIDE)
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
    """Have the scanner give up on all that models.features.bid_request.decode rejects."""
    root.types = _OBJECT
    # reading the identity makes the scanner give up on an empty text
    root.at(ID.name).ops.append((_IDENTITY, 0, 0, 0, 0, 0, 0, 0))
    for number, field in enumerate(REQUIRED_FIELDS):
        tree = root.at(field.name)
        tree.types = _TYPES[field.kind]
        if field.items is not None:  # an element shows that the list is not empty
            tree = root.at(field.name, EACH)
            tree.types = _TYPES[field.items]
        tree.ops.append((_DEMAND, 1 << number, 0, 0, 0, 0, 0, 0))


def _words(records: Sequence[Sequence[int]]) -> bytes:
    """Records as unsigned words of 64 bits."""
    return array("Q", [word for record in records for word in record]).tobytes()
