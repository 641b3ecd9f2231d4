from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from models.features.values import RowMemo

Op = tuple[int, int, int, int, RowMemo | None, Callable[[Any], list[Any]] | None]
Node = tuple[str | int, int, int, tuple[Op, ...]]

@final
class Plan:
    def __new__(
        cls,
        nodes: tuple[Node, ...],
        missing_C: bytes,
        boundaries: bytes,
        times: int,
        number_of: Callable[[Any], float],
        /,
    ) -> Plan: ...
    def fill(
        self,
        requests: Sequence[dict[str, Any]],
        ids_NC: npt.NDArray[np.int32],
        times_NT: npt.NDArray[np.float64],
        /,
    ) -> None: ...
