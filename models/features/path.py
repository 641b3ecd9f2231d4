"""Paths into a bid request, such as ``imp[0].banner.format[*].w``.

A path is a sequence of names joined by dots. After a name, ``[0]`` selects one element of a list,
``[*]`` every element, and ``{}`` continues inside a text that contains JSON, such as OpenRTB's
``native.request``. For specs that declare a schema, a path that no request of that schema can match
is an error, which suggests the most similar field.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from models.suggestions import did_you_mean

EACH: Final = -1
"""The step ``[*]``; real indices are never negative."""

INSIDE: Final = -2
"""The step ``{}``."""

Step = str | int
Steps = tuple[Step, ...]

_SEGMENT: Final = re.compile(r"([^.\[\]{}\s]+)((?:\[(?:\*|\d{1,6})\])*|\{\})")
_INDEX: Final = re.compile(r"\[(\*|\d+)\]")

# Fields of BidRequest, OpenRTB 2.0 to 2.6: sections 3.2.1 of both specifications.
_OBJECTS: Final = frozenset({"app", "device", "dooh", "ext", "regs", "site", "source", "user"})
_LISTS: Final = frozenset(
    {"acat", "badv", "bapp", "bcat", "bseat", "cur", "imp", "wlang", "wlangb", "wseat"}
)
_SCALARS: Final = frozenset({"allimps", "at", "cattax", "id", "test", "tmax"})

SCHEMAS: Final = {"openrtb-2": _OBJECTS | _LISTS | _SCALARS}


class PathError(ValueError):
    """A malformed path, or one that can never match; the message says why."""


@dataclass(frozen=True, slots=True)
class Path:
    """The steps from the request to a value: names, indices, :data:`EACH`, :data:`INSIDE`."""

    steps: Steps

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the written form.

        Raises:
            PathError: On an empty or malformed segment; the message quotes it.
        """
        steps: list[Step] = []
        for segment in text.split("."):
            match = _SEGMENT.fullmatch(segment)
            if match is None:
                raise PathError(
                    f"{text!r}: {segment!r} is not a segment; write name, name[0], name[*] or "
                    "name{}, joined by single dots"
                )
            steps.append(match[1])
            if match[2] == "{}":
                steps.append(INSIDE)
            indices = _INDEX.findall(match[2])
            steps.extend(EACH if index == "*" else int(index) for index in indices)
        if steps.count(INSIDE) > 1 or steps[-1] == INSIDE:
            raise PathError(f"{text!r}: {{}} stands once, with a name after it: text{{}}.name")
        return cls(tuple(steps))

    def __str__(self) -> str:
        text = ""
        for step in self.steps:
            if isinstance(step, str):
                text += f".{step}"
            else:
                text += {EACH: "[*]", INSIDE: "{}"}.get(step, f"[{step}]")
        return text[1:]

    @property
    def stars(self) -> int:
        """Number of ``[*]`` in the path."""
        return self.steps.count(EACH)

    def check_schema(self, schema: str) -> None:
        """Check that a request of ``schema`` can have a value at this path.

        Raises:
            PathError: If the first field does not exist, or has another type than the path
                assumes.
        """
        root, rest = str(self.steps[0]), self.steps[1:]
        fields = SCHEMAS[schema]
        if root not in fields:
            hint = did_you_mean(root, fields, "own fields belong under 'ext'")
            raise PathError(f"{str(self)!r}: {root!r} is not a field of a bid request; {hint}")
        if root in _LISTS and (not rest or isinstance(rest[0], str)):
            raise PathError(f"{str(self)!r}: {root!r} is a list; write {root}[0] or {root}[*]")
        if root in _OBJECTS and (not rest or not isinstance(rest[0], str)):
            raise PathError(f"{str(self)!r}: {root!r} is an object; name one of its fields")
        if root in _SCALARS and rest:
            raise PathError(f"{str(self)!r}: {root!r} is a plain value; nothing lies below it")
