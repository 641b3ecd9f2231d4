"""What is the same, what differs, what is in no journal, and what was never written."""

import numpy as np
import pytest

from models.features.bid_request import RejectCode
from stream.intercept.interceptor import Intercepted
from stream.messages import DECISION_HEADER, RecordError
from stream.reproduce.comparison import Comparison
from stream.reproduce.outputs import OFFSET_BITS, Outputs, hash_of, key_of, request_of
from stream.reproduce.refused import RefusedRecords
from stream.transport import Outgoing
from tests.stream.journal.test_recorder import Fetched

Decided = tuple[int, int, bool, bytes]
"""Partition and offset of a request, whether it passes, and its header."""


def outputs(*written: Decided) -> Outputs:
    rows = sorted((key_of(p, o), passed, header, at) for at, (p, o, passed, header)
                  in enumerate(written))  # fmt: skip
    return Outputs(
        np.array([row[0] for row in rows], np.int64),
        np.array([hash_of(row[2], passed=row[1]) for row in rows], np.uint64),
        np.array([row[1] for row in rows], np.bool_),
        np.array([row[3] for row in rows], np.int64),
        ("blocked", "passed"),
        RefusedRecords(),
    )


def decided(*again: Decided) -> tuple[list[Fetched], Intercepted]:
    """A batch that begins with a reject."""
    records = [Fetched(9, 9), *(Fetched(p, o) for p, o, _, _ in again)]
    sides = [
        [
            (at, Outgoing(b"", b"", 0, (("own", b"1"), (DECISION_HEADER, header))))
            for at, (_, _, passes, header) in enumerate(again, 1)
            if passes is side
        ]
        for side in (True, False)
    ]
    passed_at, blocked_at = (np.array([at for at, _ in side], np.intp) for side in sides)
    passed, blocked = ([output for _, output in side] for side in sides)
    codes = [RejectCode.TOO_LARGE]
    zero = np.array([0], np.intp)
    return records, Intercepted(
        passed, blocked, [], passed_at, blocked_at, zero, codes, [], [], None
    )


def compared(written: list[Decided], *workers: list[Decided]) -> Comparison:
    comparison = Comparison(outputs(*written))
    for worker in workers:
        comparison.add_worker()
        comparison.add(*decided(*worker))
    return comparison


A, B = (0, 1, True, b"a"), (1, 1, False, b"b")


def test_the_same_bytes_are_reproduced() -> None:
    """Also where an output was written twice, after an answer of the broker was lost."""
    found = compared([A, B, A], [A, B])
    assert (found.reproduced, found.differences(), found.never_written()) == (3, [], 0)
    assert len(found.not_in_a_journal()) == 0
    assert (found.counts[0].decisions, found.counts[0].same) == (2, 2)


@pytest.mark.parametrize("other", [(0, 1, True, b"x"), (0, 1, False, b"a")])
def test_another_header_or_verdict_differs(other: Decided) -> None:
    """With the coordinates of both."""
    found = compared([B, A], [B], [other])
    (difference,) = found.differences()
    assert found.reproduced == 1
    assert (difference.worker, difference.batch) == (1, 1)
    assert (difference.passed, difference.header) == (other[2], other[3])
    assert request_of(int(outputs(B, A).key_M[difference.output])) == (0, 1)
    assert (len(found.not_in_a_journal()), found.never_written()) == (0, 0)


def test_a_request_decided_twice_is_compared_with_both() -> None:
    """One worker was killed before it wrote, or both wrote: nothing differs."""
    first, second = (0, 1, True, b"first"), (0, 1, False, b"second")
    both = compared([first, second], [first], [second])
    assert (both.reproduced, both.differences(), both.never_written()) == (2, [], 0)
    one = compared([second], [first], [second])
    assert (one.reproduced, one.differences(), one.never_written()) == (1, [], 1)


def test_outputs_of_a_time_without_journals_are_told_apart() -> None:
    """Of each partition those before the first request that a journal decides, of no other."""
    old = [(0, 1, True, b"old"), (2, 3, True, b"old"), (2, 5, False, b"old")]
    new = [(0, 2, True, b"new"), (2, 6, True, b"new")]
    lost = [(0, 3, True, b"lost"), (1, 0, True, b"lost"), (2, 9, True, b"lost"), (3, 1, True, b"")]
    found = compared([*old, *new, *lost], new)
    assert found.reproduced == 2
    written = outputs(*old, *new, *lost)
    assert [request_of(int(written.key_M[at])) for at in found.before_the_journals()] == [
        (0, 1), (2, 3), (2, 5),
    ]  # fmt: skip
    assert [request_of(int(written.key_M[at])) for at in found.not_in_a_journal()] == [
        (0, 3), (1, 0), (2, 9), (3, 1),
    ]  # fmt: skip


def test_an_output_of_a_lost_end_is_in_no_journal() -> None:
    """The killed worker's decision was written, its journal was not: nothing is guessed."""
    found = compared([(0, 1, True, b"lost"), A, B], [A, B])
    assert (found.reproduced, found.differences()) == (2, [])
    assert len(found.not_in_a_journal()) == 1
    nothing = compared([A, B])
    assert (nothing.reproduced, len(nothing.not_in_a_journal())) == (0, 2)


def test_a_batch_of_rejects_and_no_outputs() -> None:
    """Nothing to compare is no fault."""
    found = compared([], [], [A])
    assert (found.reproduced, found.differences(), found.never_written()) == (0, [], 1)


def test_a_request_is_one_number() -> None:
    """Partition and offset come back; an offset that no partition reaches is refused."""
    assert request_of(key_of(1_000_000, 2**OFFSET_BITS - 1)) == (1_000_000, 2**OFFSET_BITS - 1)
    with pytest.raises(RecordError, match="over 2"):
        key_of(0, 2**OFFSET_BITS)
