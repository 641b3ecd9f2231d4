"""The reference reader: values of decoded requests, one path at a time, in NumPy where possible.

The compiled scanner (:mod:`models.features.scanner`) must give the same ids, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.layout import Fallback, Layout


class ColumnReader:
    """Reads the features of one spec from decoded requests.

    Args:
        features: The features of the spec, in order.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        layout = Layout(features)
        self._visible, self._columns = layout.visible, len(layout.missing)
        self._fallbacks = layout.fallbacks
        by_kind: dict[type[Feature], list[Feature]] = {}
        for feature in features:
            if not feature.derived:
                by_kind.setdefault(type(feature), []).append(feature)
        self._readers = [kind.reader(group, layout) for kind, group in by_kind.items()]
        self._derived = [each.reader([each], layout) for each in features if each.derived]

    def read(self, requests: Sequence[dict[str, Any]], times_N: npt.NDArray[np.int64]) -> Ids:
        """Ids of shape (N, C).

        Args:
            requests: N decoded bid requests.
            times_N: Timestamps of their records, int64 ms.
        """
        columns = Columns(requests)
        ids_EN = np.empty((self._columns, len(requests)), np.int32)
        for reader in self._readers:
            reader.fill(ids_EN, columns, times_N)
        for fallback in self._fallbacks:
            _fall_back(ids_EN, fallback)
        for reader in self._derived:
            reader.fill(ids_EN, columns, times_N)
        return np.ascontiguousarray(ids_EN[: self._visible].T)


def _fall_back(ids_EN: Ids, fallback: Fallback) -> None:
    feature = fallback.feature
    into_SN = ids_EN[feature.column : feature.column + feature.slots]
    missing_N = (into_SN == feature.offset).all(axis=0)
    from_SN = ids_EN[fallback.column : fallback.column + feature.slots]
    into_SN[:, missing_N] = from_SN[:, missing_N]
