from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from models.features.values import RowMemo

Op: TypeAlias = tuple[int, int, int, int, RowMemo | None, Callable[[Any], list[Any]] | None]
Node: TypeAlias = tuple[str | int, int, int, tuple[Op, ...]]
Time: TypeAlias = tuple[int, int, int, int]
Cross: TypeAlias = tuple[int, int, int, tuple[int, ...]]

@final
class Plan:
    def __new__(
        cls,
        nodes: tuple[Node, ...],
        missing_C: bytes,
        boundaries: bytes,
        slots: int,
        times: tuple[Time, ...],
        crosses: tuple[Cross, ...],
        number_of: Callable[[Any], float],
        /,
    ) -> Plan: ...
    def fill(
        self, requests: Sequence[dict[str, Any]], ids_NC: npt.NDArray[np.int32], /
    ) -> None: ...
