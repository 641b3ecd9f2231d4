"""A sequence of requests with their outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Traffic:
    """N requests and their outcomes; T tasks in funnel order.

    Attributes:
        ids: Request ids.
        values: Bid requests in JSON.
        timestamps: Time of each request, milliseconds since the epoch, int64 (N,).
        p_true: True probability of each task on the task's own population, float64 (N, T);
            NaN where it is unknown.
        reached: Whether the event happens, even if late, bool (N, T).
        delays_s: Seconds from the request to the event, float64 (N, T); meaningless where the event
            does not happen.
        data_poor: Whether the request is of a segment with few requests, bool (N,).
        arrived: Number of the source that arrived (``simulation/arrivals.py``), int64 (N,); -1 for
            inventory that was always there.
    """

    ids: list[str]
    values: list[bytes]
    timestamps: npt.NDArray[np.int64]
    p_true: npt.NDArray[np.float64]
    reached: npt.NDArray[np.bool_]
    delays_s: npt.NDArray[np.float64]
    data_poor: npt.NDArray[np.bool_]
    arrived: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the parts; at least one is needed."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            ids=[each for part in parts for each in part.ids],
            values=[each for part in parts for each in part.values],
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in ("timestamps", "p_true", "reached", "delays_s", "data_poor", "arrived")
            },
        )
