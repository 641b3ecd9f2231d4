"""A span: something that took time, as OpenTelemetry defines it."""

from collections.abc import Mapping
from typing import NamedTuple

Attribute = str | int | float | bool


class Span(NamedTuple):
    """One timed piece of work.

    Attributes:
        trace_id: 32 hexadecimal digits; the spans of one chunk have the same.
        span_id: 16 hexadecimal digits.
        parent_id: Span that this one is part of; empty for none.
        name: What was done.
        start_ns: When it began, in nanoseconds since the epoch.
        end_ns: When it ended.
        attributes: More about it.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]

    @property
    def ms(self) -> float:
        """Its duration in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6
