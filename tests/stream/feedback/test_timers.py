"""The calendar queue."""

import heapq

from hypothesis import given
from hypothesis import strategies as st

from stream.feedback.timers import Timers

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5_000)),
        st.tuples(st.just("fire"), st.integers(0, 6_000)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 900))
def test_a_calendar_queue_gives_what_a_heap_gives(steps: list[tuple[str, int]], width: int) -> None:
    """Whatever the buckets, each key comes back once, when it is due, in the order of a heap."""
    timers, heap = Timers(width), []
    for number, (verb, ms) in enumerate(steps):
        if verb == "add":
            timers.add(ms, b"%d" % number)
            heapq.heappush(heap, (ms, b"%d" % number))
        else:
            due = []
            while heap and heap[0][0] < ms:
                due.append(heapq.heappop(heap)[1])
            assert timers.fire(ms) == due
        assert len(timers) == len(heap)
