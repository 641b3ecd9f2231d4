"""The intercepted share: overall, and in the worst window, in publishing order.

:class:`Observed` collects, beside the verifier, the publishing order that the two functions need.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from aiokafka import ConsumerRecord

from stream.messages import Decision, sequence_number
from stream.verify.account import Fate

Fates = npt.NDArray[np.int8]


class Observed:
    """Publishing order, reasons and models; an observer of :func:`stream.verify.verifier.account`.

    Attributes:
        reasons: Output records by reason (passed and blocked).
        models: Passed records by model version.
    """

    def __init__(self) -> None:
        self._inputs: list[npt.NDArray[np.int64]] = []
        self.reasons: Counter[str] = Counter()
        self.models: Counter[str] = Counter()

    def inputs(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Note timestamp and sequence number of each record."""
        rows = [
            (
                record.timestamp,
                sequence_number(record.headers),
                partition,
                record.offset,
            )
            for record in records
        ]
        self._inputs.append(np.array(rows, np.int64))

    def outputs(self, fate: Fate, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Count reasons and models."""
        del partition
        if fate is Fate.REJECTED:
            return
        for record in records:
            decision = Decision.from_headers(record.headers)
            self.reasons[decision.reason.label] += 1
            if fate is Fate.PASSED:
                self.models[decision.model] += 1

    def in_order(self, fates: Mapping[int, Fates]) -> Fates:
        """Fate of each input in publishing order; int8 of shape (requests,).

        Args:
            fates: Per partition, record by record, as in :class:`stream.verify.account.Account`.
        """
        if not self._inputs:
            return np.zeros(0, np.int8)
        inputs_N4 = np.concatenate(self._inputs)
        order_N = np.lexsort(inputs_N4.T[::-1])
        fate_N = np.zeros(len(inputs_N4), np.int8)
        for partition, fate_P in fates.items():
            fate_N[inputs_N4[:, 2] == partition] = fate_P
        return fate_N[order_N]


def achieved_rate(fate_N: Fates, warm_up: int) -> float:
    """Share intercepted of the decided requests after the first ``warm_up`` of them."""
    blocked = _blocked(fate_N, warm_up)
    return float(blocked.mean()) if len(blocked) else 0.0


def worst_window_error(fate_N: Fates, rate: float, window: int, warm_up: int) -> float:
    """Largest |intercepted share - rate| over every ``window`` consecutive decided requests.

    Args:
        fate_N: Fates in publishing order.
        rate: Target share r.
        window: Requests in a window.
        warm_up: Decided requests at the start that do not count.
    """
    blocked = _blocked(fate_N, warm_up).astype(np.int64)
    if len(blocked) < window:
        return abs(float(blocked.mean()) - rate) if len(blocked) else 0.0
    sums = np.concatenate([[0], np.cumsum(blocked)])
    shares = (sums[window:] - sums[:-window]) / window
    return float(np.abs(shares - rate).max())


def _blocked(fate_N: Fates, warm_up: int) -> npt.NDArray[np.bool_]:
    decided = fate_N[(fate_N == Fate.PASSED) | (fate_N == Fate.BLOCKED)]
    blocked: npt.NDArray[np.bool_] = decided[warm_up:] == Fate.BLOCKED
    return blocked
