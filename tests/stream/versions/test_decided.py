"""Which version decided, from the headers of the pass topic."""

import itertools
from typing import Any

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import Decision, Reason
from stream.versions.decided import MAX_RUNS, Decided


def record(partition: int, offset: int, version: str | None, stamp: int = 0) -> ConsumerRecord:
    """A passed request; None: without a header that can be read."""
    headers: list[Any] = [("weir", b"{")]
    if version is not None:
        headers.append(Decision(version, 0.5, 0.4, Reason.SCORE, 1.0, offset).to_header())
    return ConsumerRecord(
        "passed", partition, offset, stamp, 0, None, b"{}", None, 0, 2, tuple(headers)
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "b", None])), max_size=60))
def test_runs_say_what_the_headers_say(made: list[tuple[int, str | None]]) -> None:
    """Every request is in one run, in order, and neighbours differ."""
    decided = Decided()
    for offset, (partition, version) in enumerate(made):
        decided.add(record(partition, offset, version, 1_000 - offset))
    assert decided.unreadable == sum(version is None for _, version in made)
    for partition in range(3):
        runs = decided.runs.get(partition, [])
        mine = [(i, v) for i, (p, v) in enumerate(made) if p == partition and v is not None]
        rebuilt = [
            (offset, run.version)
            for run in runs
            for offset, _ in mine
            if run.first <= offset <= run.last
        ]
        assert rebuilt == mine
        assert sum(run.requests for run in runs) == len(mine)
        versions = [run.version for run in runs]
        assert all(a != b for a, b in itertools.pairwise(versions))
        for run in runs:
            assert (run.since, run.until) == (1_000 - run.last, 1_000 - run.first)


def test_a_flood_of_runs_is_bounded() -> None:
    """The newest are kept, and the others counted."""
    decided = Decided()
    for offset in range(MAX_RUNS + 7):
        decided.add(record(0, offset, f"v{offset}"))
    assert (len(decided.runs[0]), decided.left_out) == (MAX_RUNS, 7)
    assert decided.runs[0][0].version == "v7"
