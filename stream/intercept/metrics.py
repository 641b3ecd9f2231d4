"""What an interceptor reports while it decides; a worker counts it, a replay does not."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.features.bid_request import RejectCode


class InterceptMetrics(Protocol):
    """Receives the figures of each chunk; :class:`stream.metrics.worker.WorkerMetrics` is one."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time one stage of a chunk: ``read``, ``score``, ``decide`` or ``route``."""

    def reject(self, code: RejectCode) -> None:
        """Count a record that is rejected."""

    def verdicts(self, passed_N: npt.NDArray[np.bool_], reason_N: npt.NDArray[np.uint8]) -> None:
        """Count N decisions by verdict and reason."""

    def canary(self, passed_N: npt.NDArray[np.bool_]) -> None:
        """Count N decisions of a canary."""

    def scored(
        self,
        tasks: Sequence[str],
        scores_NT: npt.NDArray[np.float32],
        uncertainties_NT: npt.NDArray[np.float32],
    ) -> None:
        """Count the scores and uncertainties of N requests."""

    def rate(
        self, *, due: float, requests: int, achieved: float, threshold: float, capacity: float
    ) -> None:
        """Record the controller's state after a chunk; see `WorkerMetrics.rate`."""

    def distrusted_stamps(self, count: int) -> None:
        """Record how many timestamps the stream's clock has not followed so far."""


class NoMetrics:
    """Metrics that are not kept."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time nothing."""
        del name
        return nullcontext()

    def reject(self, code: RejectCode) -> None:
        """Count nothing."""

    def verdicts(self, passed_N: npt.NDArray[np.bool_], reason_N: npt.NDArray[np.uint8]) -> None:
        """Count nothing."""

    def canary(self, passed_N: npt.NDArray[np.bool_]) -> None:
        """Count nothing."""

    def scored(
        self,
        tasks: Sequence[str],
        scores_NT: npt.NDArray[np.float32],
        uncertainties_NT: npt.NDArray[np.float32],
    ) -> None:
        """Count nothing."""

    def rate(
        self, *, due: float, requests: int, achieved: float, threshold: float, capacity: float
    ) -> None:
        """Record nothing."""

    def distrusted_stamps(self, count: int) -> None:
        """Record nothing."""
