"""Columns of values: the value at a path in each of N requests.

Paths with a common beginning share the work: the objects below ``imp[0]`` are looked up once per
batch. Any JSON is accepted; a value that does not exist, or is not of the type that the path
assumes, is None or empty. A text or number in place of a list counts as a list.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

from models.features.path import EACH, INSIDE, Step, Steps
from models.features.values import embedded_json, list_of

_NO_OBJECT: Final[dict[str, Any]] = {}
_NO_LIST: Final[list[Any]] = []


class Columns:
    """Columns of the N ``requests``, cached by path for the lifetime of the batch."""

    def __init__(self, requests: Sequence[dict[str, Any]]) -> None:
        self._objects: dict[Steps, Sequence[dict[str, Any]]] = {(): requests}
        self._lists: dict[Steps, list[list[Any]]] = {}
        self._nothing: dict[tuple[Steps, bool], bool] = {}

    def values(self, steps: Steps, default: Any = None) -> Iterable[Any]:
        """The N values at a path without ``[*]``; ``default`` (or None) if there is none."""
        *parent, last = steps
        if isinstance(last, str):
            return map(dict.get, self._objects_at(tuple(parent)), repeat(last), repeat(default))
        if last == INSIDE:
            return [v if v is None else embedded_json(v) for v in self.values(tuple(parent))]
        lists = self.lists(tuple(parent))
        return [values[last] if len(values) > last else default for values in lists]

    def lists(self, steps: Steps) -> list[list[Any]]:
        """The N lists at a path without ``[*]``; an empty one if there is none."""
        found = self._lists.get(steps)
        if found is None:
            found = [
                v if type(v) is list else _NO_LIST if v is None else list_of(v)
                for v in self.values(steps)
            ]
            self._lists[steps] = found
        return found

    def elements(self, steps: Steps) -> list[list[Any]]:
        """The N lists of the values that a path with ``[*]`` reaches, in order.

        An element without the requested field is None.
        """
        star = steps.index(EACH)
        below = steps[star + 1 :]
        lists = self.lists(steps[:star])
        if not below:
            return lists
        return [elements_of(values, below) if values else _NO_LIST for values in lists]

    def nothing_at(self, steps: Steps) -> bool:
        """Whether the parent of a path's last step is empty or missing in all of the requests."""
        above = steps[: steps.index(EACH)] if EACH in steps else steps[:-1]
        in_objects = EACH not in steps and isinstance(steps[-1], str)
        found = self._nothing.get((above, in_objects))
        if found is None:
            found = not any(self._objects_at(above) if in_objects else self.lists(above))
            self._nothing[above, in_objects] = found
        return found

    def _objects_at(self, steps: Steps) -> Sequence[dict[str, Any]]:
        found = self._objects.get(steps)
        if found is None:
            found = [v if type(v) is dict else _NO_OBJECT for v in self.values(steps)]
            self._objects[steps] = found
        return found


def elements_of(values: list[Any], steps: Steps) -> list[Any]:
    """The values that ``steps`` reach from each element of a list, in order."""
    for step in steps:
        if not values:
            break
        values = _descend(values, step)
    return values


def _descend(values: list[Any], step: Step) -> list[Any]:
    if isinstance(step, str):
        return [value.get(step) if type(value) is dict else None for value in values]
    if step == INSIDE:
        return list(map(embedded_json, values))
    lists = map(list_of, values)
    if step == EACH:
        return [inner for inner_values in lists for inner in inner_values]
    return [inner[step] if len(inner) > step else None for inner in lists]
