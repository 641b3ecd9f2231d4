"""From a batch of decoded requests to the ids of the embedding table: int32 (N, C).

The one code path of trainer and worker. Ids depend on the request and the spec alone: not on the
batch around it, on what was extracted before, on the platform, on Python's hash seed, or on
whether the compiled reader is there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features.feature import Feature
from models.features.native import NATIVE, NativeReader
from models.features.reader import ColumnReader

__all__ = ["NATIVE", "Extractor"]


class Extractor:
    """Extracts the features of one spec.

    It remembers rows of values that it has seen, within bounds, so it is not shared by threads.

    Args:
        features: Those of the spec, in order.
        native: Whether the compiled reader reads the requests; by default where it is built.

    Raises:
        ImportError: If ``native`` is asked for and it is not built.
    """

    def __init__(self, features: Sequence[Feature], *, native: bool = NATIVE) -> None:
        self._reader = NativeReader(features) if native else ColumnReader(features)

    def extract(self, requests: Sequence[dict[str, Any]]) -> npt.NDArray[np.int32]:
        """Ids of shape (N, C), each feature's within its own rows.

        Args:
            requests: N decoded bid requests.
        """
        return self._reader.read(requests)
