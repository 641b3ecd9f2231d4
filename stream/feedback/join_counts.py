"""Counters of the join."""

from dataclasses import dataclass


@dataclass(slots=True)
class JoinCounts:
    """Records of the join by what became of them; the field names are labels of the metric.

    Attributes:
        requests: Requests that were added.
        repeated_requests: Requests that had been added before.
        future_requests: Requests refused because their event time is too far ahead of the clock.
        past_requests: Requests refused because their last window had closed before they arrived.
        left_out_requests: Requests outside of the sample that is kept when memory is short.
        overflown_requests: Requests in the sample that did not fit into memory.
        joined: Outcomes that set a label to 1.
        duplicates: Outcomes whose label was 1 already.
        late: Outcomes outside of their attribution window: after it, or not after the request.
        corrections: Joined outcomes that arrived after their label had been emitted as 0.
        unknown_task: Outcomes of a task that is not configured, or of a request that was stored
            for other tasks.
        held: Outcomes that arrived before their request, or without one.
        orphans: Held outcomes that expired or were dropped without their request.
        expired: Requests dropped without labels, because they were stored for other tasks.
        examples: Examples emitted.
        completed: Emitted examples in which no label is masked.
    """

    requests: int = 0
    repeated_requests: int = 0
    future_requests: int = 0
    past_requests: int = 0
    left_out_requests: int = 0
    overflown_requests: int = 0
    joined: int = 0
    duplicates: int = 0
    late: int = 0
    corrections: int = 0
    unknown_task: int = 0
    held: int = 0
    orphans: int = 0
    expired: int = 0
    examples: int = 0
    completed: int = 0
