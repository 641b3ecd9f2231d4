from collections.abc import Sequence
from typing import final

import numpy as np
import numpy.typing as npt

@final
class Plan:
    def __new__(
        cls,
        arrays: tuple[bytes, ...],
        visible: int,
        time_slots: int,
        counters: int,
        required: int,
        /,
    ) -> Plan: ...
    def scan(
        self,
        values: Sequence[bytes | None],
        max_bytes: int,
        times_N: npt.NDArray[np.int64],
        ids_NC: npt.NDArray[np.int32],
        hashes_N: npt.NDArray[np.uint64],
        /,
    ) -> list[str | None]: ...
