"""What share was intercepted, in publishing order."""

import numpy as np
import pytest

from stream.messages import Decision, Reason, sequence_header
from stream.verify.account import Fate
from stream.verify.rate import Observed, achieved_rate, worst_window_error
from tests.stream.verify.test_verifier import record


def test_worst_window_is_taken_over_every_window() -> None:
    """A run of passes in the middle is found, wherever windows begin; rejects do not count."""
    fate_N = np.tile([Fate.BLOCKED, Fate.PASSED], 50).astype(np.int8)
    fate_N[40:50] = Fate.PASSED
    fate_N = np.insert(fate_N, 45, Fate.REJECTED)
    assert worst_window_error(fate_N, 0.5, window=10, warm_up=0) == pytest.approx(0.5)
    assert worst_window_error(fate_N, 0.5, window=10, warm_up=60) == pytest.approx(0.0)
    assert achieved_rate(fate_N, warm_up=0) == pytest.approx(0.45)


def test_order_of_publishing_is_restored_and_reasons_are_counted() -> None:
    """Time first, number second: partitions are merged as they were published."""
    observed = Observed()
    for partition, offset, moment, number in (
        (0, 0, 5, 1),
        (0, 1, 7, 3),
        (1, 0, 5, 0),
        (1, 2, 6, 2),
    ):
        source = record(partition, offset, timestamp=moment, headers=[sequence_header(number)])
        observed.inputs(partition, [source])
    fates = {0: np.array([0, 1], np.int8), 1: np.array([2, 1], np.int8)}
    assert observed.in_order(fates).tolist() == [2, 0, 1, 1]
    for fate, reason in ((Fate.PASSED, Reason.EXPLORE), (Fate.BLOCKED, Reason.SCORE)):
        header = Decision("m1", 0.5, 0.4, reason, 1.0, 0).to_header()
        observed.outputs(fate, 0, [record(0, 0, headers=[header])])
    observed.outputs(Fate.REJECTED, 0, [record(0, 0)])
    assert (observed.reasons, observed.models) == ({"explore": 1, "score": 1}, {"m1": 1})
