"""A batch of requests seen column by column: all values at one path, objects visited once.

Going down the requests path by path, instead of down the paths request by request, keeps the
inner loops in C: every nested object is fetched once per batch, and its fields are read by
``map`` over a whole column.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

from models.features.path import EACH, Step

Steps = tuple[Step, ...]

_NO_OBJECT: Final[dict[str, Any]] = {}
_NO_LIST: Final[list[Any]] = []


class Columns:
    """Columns of the N ``requests``, cached by path for the life of the batch."""

    def __init__(self, requests: Sequence[dict[str, Any]]) -> None:
        self._objects: dict[Steps, Sequence[dict[str, Any]]] = {(): requests}
        self._lists: dict[Steps, list[list[Any]]] = {}

    def values(self, steps: Steps, default: Any = None) -> Iterable[Any]:
        """The N values at a path without ``[*]``; ``default`` (or None) where there is none."""
        *parent, last = steps
        if isinstance(last, str):
            return map(dict.get, self._objects_at(tuple(parent)), repeat(last), repeat(default))
        lists = self.lists(tuple(parent))
        return [values[last] if len(values) > last else default for values in lists]

    def lists(self, steps: Steps) -> list[list[Any]]:
        """The N lists at a path without ``[*]``; an empty one where there is none."""
        found = self._lists.get(steps)
        if found is None:
            found = [v if type(v) is list else _NO_LIST for v in self.values(steps)]
            self._lists[steps] = found
        return found

    def elements(self, steps: Steps) -> list[list[Any]]:
        """The N lists of the values that a path with ``[*]`` reaches, in order.

        An element that lacks the field asked for holds its place as None.
        """
        star = steps.index(EACH)
        below = steps[star + 1 :]
        lists = self.lists(steps[:star])
        return [elements_of(values, below) for values in lists] if below else lists

    def _objects_at(self, steps: Steps) -> Sequence[dict[str, Any]]:
        found = self._objects.get(steps)
        if found is None:
            found = [v if type(v) is dict else _NO_OBJECT for v in self.values(steps)]
            self._objects[steps] = found
        return found


def elements_of(value: Any, steps: Steps) -> list[Any]:
    """What ``steps`` reach from each element of a list, in order; nothing from what is no list."""
    values: list[Any] = value if type(value) is list else _NO_LIST
    for step in steps:
        if not values:
            break
        values = _descend(values, step)
    return values


def _descend(values: list[Any], step: Step) -> list[Any]:
    if isinstance(step, str):
        return [value.get(step) if type(value) is dict else None for value in values]
    if step == EACH:
        return [inner for value in values if type(value) is list for inner in value]
    return [value[step] if type(value) is list and len(value) > step else None for value in values]
