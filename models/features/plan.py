"""The plan of the compiled scanner: what it does with the value at each path of a request.

Features add operations to a :class:`PlanBuilder`; the plan is an array of records that
``native/_plan.h`` defines. All records are unsigned 64-bit words.
"""

from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from models.features.bid_request import ID, REQUIRED_FIELDS
from models.features.layout import Layout
from models.features.path import EACH, INSIDE, Step, Steps

if TYPE_CHECKING:
    from models.features import _scan

# Types of values, as native/_values.h numbers them.
_TEXT: Final = 1
_NUMBER: Final = 2
_BOOLEAN: Final = 4
_OBJECT: Final = 16
_LIST: Final = 32
_ANY: Final = 63

_TYPES: Final[Mapping[type, int]] = {str: _TEXT, dict: _OBJECT, list: _LIST}
_ALL_REQUIRED: Final = (1 << len(REQUIRED_FIELDS)) - 1
"""A bit for each required field of a bid request."""

RECORD_TIME_SLOT: Final = 0
"""The time slot that holds the timestamp of the value's record."""
COMMA: Final = b","
"""Separator of the elements in a text that is read in place of a list."""


class OpCode(IntEnum):
    """Operations on a value, as native/_plan.h numbers them."""

    BUCKET = 0
    """Write the bucket of a number."""
    TIME = 1
    """Store a number in a time slot."""
    ROW = 2
    """Write the hashed row of a value."""
    NEXT = 3
    """Advance a counter."""
    TAG = 4
    """Write the hashed row of a value into the slot that a counter selects."""
    SPLIT = 5
    """Split a text, and write each piece as TAG does, advancing the counter."""
    COUNT_PARTS = 6
    """Split a text, and only advance the counter."""
    INSIDE = 7
    """Read the JSON inside a text."""
    IDENTITY = 8
    """Take a text as the id of the request."""
    PRESENT = 9
    """Set bits of what makes a value a bid request."""


class Op(NamedTuple):
    """An operation on a value; the comments in native/_plan.h say what each field means."""

    code: OpCode
    column: int = 0
    first: int = 0
    size: int = 0
    buckets: int = 0
    seed: int = 0
    counter: int = 0
    flag: int = 0


class _PathTree:
    """Paths with a common beginning, as a tree."""

    def __init__(self) -> None:
        self.types = _ANY
        self.ops: list[Op] = []
        self.below: dict[Step, _PathTree] = {}

    def at(self, *steps: Step) -> "_PathTree":
        """The subtree at a path."""
        tree = self
        for step in steps:
            tree = tree.below.setdefault(step, _PathTree())
        return tree


class PlanBuilder:
    """Collects the operations of features, and writes the plan.

    Args:
        layout: Columns of the features.
    """

    def __init__(self, layout: Layout) -> None:
        self._root = _PathTree()
        self._nodes: list[list[int]] = [[0] * 7]
        self._ops: list[Op] = []
        self._fields: list[tuple[int, int, int, int]] = []
        self._elements: list[tuple[int, int]] = []
        self._texts = b""
        self._boundaries = array("d")
        self._visible = layout.visible
        self._missing_E = array("i", layout.missing)
        self._time_slots: dict[Steps, int] = {}
        self._times: list[tuple[int, int, int, int, int]] = []
        self._choices: list[int] = []
        self._counts: list[tuple[int, int, int, int]] = []
        self._counters = 0
        self._fallbacks = [
            (each.feature.column, each.column, each.feature.slots) for each in layout.fallbacks
        ]
        self._crosses: list[tuple[int, int, int, int, int]] = []
        self._parts: list[int] = []
        _expect_a_request(self._root)

    def add(self, steps: Steps, op: Op) -> None:
        """Apply an operation to the values at a path."""
        self._root.at(*steps).ops.append(op)

    def expect_lists(self, steps: Steps) -> None:
        """Decline requests with a text or number in place of a list of anything but objects.

        The reference reader takes such a value for a list, which the operations cannot do.
        """
        for depth, step in enumerate(steps):
            below = steps[depth + 1 : depth + 2]
            if isinstance(step, int) and step != INSIDE and not isinstance((*below, 0)[0], str):
                self._root.at(*steps[:depth]).types &= ~(_TEXT | _NUMBER | _BOOLEAN)

    def counter(self) -> int:
        """A new counter, 0 at the beginning of every request."""
        self._counters += 1
        return self._counters - 1

    def element_counter(self, steps: Steps) -> int:
        """A new counter of the elements that a path ending in ``[*]`` reaches."""
        counter = self.counter()
        self.add(steps, Op(OpCode.NEXT, counter))
        return counter

    def boundaries(self, edges: Sequence[float]) -> tuple[int, int]:
        """Store boundaries of buckets; the first one's index, and their number."""
        first = len(self._boundaries)
        self._boundaries.extend(edges)
        return first, len(edges)

    def text(self, text: bytes) -> int:
        """Store a name or separator; its index."""
        self._texts += text
        return len(self._texts) - len(text)

    def time_slot(self, steps: Steps) -> int:
        """The slot into which the number at a path is read."""
        slot = self._time_slots.get(steps)
        if slot is None:
            slot = self._time_slots[steps] = RECORD_TIME_SLOT + 1 + len(self._time_slots)
            self.add(steps, Op(OpCode.TIME, slot))
            self.expect_lists(steps)
        return slot

    def add_time(
        self, column: int, times: Sequence[int], offsets: Sequence[int], part: int
    ) -> None:
        """Write a calendar part at the end of a request.

        Args:
            column: The column.
            times: Time slots, of which the first valid time counts.
            offsets: Time slots of UTC offsets in minutes, of which the first valid one counts.
            part: The calendar part, as native/_plan.h numbers them.
        """
        start = len(self._choices)
        self._choices += [*times, *offsets]
        middle = start + len(times)
        self._times.append((column, start, middle, len(self._choices), part))

    def add_count(self, column: int, counter: int, first: int, size: int) -> None:
        """Write the bucket of a counter at the end of a request; 0 is missing."""
        self._counts.append((column, counter, first, size))

    def add_cross(self, column: int, seed: int, buckets: int, parts: Sequence[int]) -> None:
        """Write the hash of other columns' rows at the end of a request."""
        start = len(self._parts)
        self._parts += parts
        self._crosses.append((column, seed, buckets, start, len(self._parts)))

    def build(self) -> "_scan.Plan":
        """The plan for the scanner."""
        from models.features import _scan  # noqa: PLC0415 - it may not be built

        self._write((self._root,))
        arrays = (
            _words(self._nodes),
            _words(self._ops),
            _words(self._fields),
            _words(self._elements),
            self._texts,
            self._boundaries.tobytes(),
            self._missing_E.tobytes(),
            _words(self._times),
            _words([self._choices]),
            _words(self._counts),
            _words(self._fallbacks),
            _words(self._crosses),
            _words([self._parts]),
        )
        time_slots = RECORD_TIME_SLOT + 1 + len(self._time_slots)
        return _scan.Plan(arrays, self._visible, time_slots, self._counters, _ALL_REQUIRED)

    def _write(self, trees: tuple[_PathTree, ...]) -> int:
        """Write the node for a place that is on the paths of all ``trees``; 0 for no tree.

        Both [0] and [*] reach the first element of a list, and paths inside a text with JSON
        continue as if the JSON were there in place of the text.
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
            self._ops.append(Op(OpCode.INSIDE))
            if any(isinstance(step, str) for tree in trees for step in tree.below):
                types &= ~_TEXT
            trees += inner
        ops = (first, len(self._ops))
        steps = dict.fromkeys(step for tree in trees for step in tree.below if step != INSIDE)
        for step in steps:
            if isinstance(step, str):
                name = step.encode()
                node = self._write(_below(trees, step))
                self._fields.append((number, self.text(name), len(name), node))
        each = _below(trees, EACH)
        indices = sorted(step for step in steps if isinstance(step, int) and step != EACH)
        elements = [(index, self._write(_below(trees, index) + each)) for index in indices]
        rest = self._write(each)
        start = len(self._elements)
        self._elements += elements
        self._nodes[number] = [types, *ops, 0, start, len(self._elements), rest]
        return number


def _below(trees: tuple[_PathTree, ...], step: Step) -> tuple[_PathTree, ...]:
    return tuple(tree.below[step] for tree in trees if step in tree.below)


def _expect_a_request(root: _PathTree) -> None:
    """Make the scanner decline everything that models.features.bid_request.decode rejects."""
    root.types = _OBJECT
    root.at(ID.name).ops.append(Op(OpCode.IDENTITY))  # declines an empty text
    for number, field in enumerate(REQUIRED_FIELDS):
        tree = root.at(field.name)
        tree.types = _TYPES[field.kind]
        if field.items is not None:  # an element shows that the list is not empty
            tree = root.at(field.name, EACH)
            tree.types = _TYPES[field.items]
        tree.ops.append(Op(OpCode.PRESENT, 1 << number))


def _words(records: Sequence[Sequence[int]]) -> bytes:
    """Records as unsigned 64-bit words."""
    return array("Q", [word for record in records for word in record]).tobytes()
