"""What became of the records of a join."""

from dataclasses import dataclass


@dataclass(slots=True)
class JoinCounts:
    """What happened to the records of the join; every record is counted once under its fate.

    Attributes:
        requests: Requests taken.
        repeated_requests: Requests seen before.
        future_requests: Requests refused for a time too far ahead of the clock.
        past_requests: Requests refused because their last window had closed when they came.
        left_out_requests: Requests that are not in the share that is kept, for want of memory.
        overflown_requests: Requests of that share for which there was no memory either.
        joined: Outcomes that made a label 1.
        duplicates: Outcomes whose label was 1 already.
        late: Outcomes out of their window: after it, or not after the request.
        corrections: Outcomes (of those joined) that came after their window had closed as 0.
        unknown_task: Outcomes of a task that is not configured, or of a request that was stored
            for other tasks.
        held: Outcomes that came before their request, or without one.
        orphans: Held outcomes whose request never came or was left out, dropped.
        expired: Requests dropped unfinished, because they were stored for other tasks.
        examples: Examples emitted.
        completed: Examples without a masked label (of those emitted).
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
