"""Paths into a bid request, such as ``imp[0].banner.format[*].w``.

A path is names joined by dots; ``[0]`` after a name takes one element of a list, ``[*]`` each of
them, and ``{}`` goes on inside of a text that holds JSON, as OpenRTB's ``native.request`` does.
For specs that declare a schema, a path that can never match a request of that schema is an error,
with the nearest field that exists.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Final, Self

EACH: Final = -1
"""The step ``[*]``; indices themselves are never negative."""

INSIDE: Final = -2
"""The step ``{}``."""

Step = str | int

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
    """A path that cannot be read, or that can never match; the message says why."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value lies: names, indices, :data:`EACH`, :data:`INSIDE`, from the request down."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form.

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
        """How many ``[*]`` the path has."""
        return self.steps.count(EACH)

    def check_schema(self, schema: str) -> None:
        """Check that a request of ``schema`` can hold a value here.

        Raises:
            PathError: If the first field does not exist, or is not of the type that the path
                takes it for.
        """
        root, rest = str(self.steps[0]), self.steps[1:]
        fields = SCHEMAS[schema]
        if root not in fields:
            near = difflib.get_close_matches(root, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "own fields belong under 'ext'"
            raise PathError(f"{str(self)!r}: {root!r} is not a field of a bid request; {hint}")
        if root in _LISTS and (not rest or isinstance(rest[0], str)):
            raise PathError(f"{str(self)!r}: {root!r} is a list; write {root}[0] or {root}[*]")
        if root in _OBJECTS and (not rest or not isinstance(rest[0], str)):
            raise PathError(f"{str(self)!r}: {root!r} is an object; name one of its fields")
        if root in _SCALARS and rest:
            raise PathError(f"{str(self)!r}: {root!r} is a plain value; nothing lies below it")
