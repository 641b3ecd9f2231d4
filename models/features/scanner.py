"""The compiled scanner: from the bytes of bid requests to ids, without decoding them.

The extension ``_scan`` is optional, and it may decline any value. What it does not read is decoded
and read by :mod:`models.features.column_reader`; both give the same ids.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from models.features.feature import Feature, Ids
from models.features.layout import Layout
from models.features.plan import PlanBuilder

try:
    from models.features import _scan
except ImportError:
    NATIVE = False
else:
    NATIVE = True
"""Whether the extension is built."""


class NativeScanner:
    """Reads request ids and features from the bytes of bid requests.

    Args:
        plan: The plan of a spec.
    """

    def __init__(self, plan: "_scan.Plan") -> None:
        self._plan = plan

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Self | None:
        """A scanner for the features of a spec, in order; None if it cannot read one of them.

        Raises:
            ImportError: If the extension is not built.
        """
        if not NATIVE:
            raise ImportError(
                "models.features._scan is not built; with a C compiler, pip install -e . builds it"
            )
        layout = Layout(features)
        plan = PlanBuilder(layout)
        if not all(feature.compile(plan, layout) for feature in features):
            return None
        return cls(plan.build())

    def scan(
        self,
        values: Sequence[bytes | None],
        times_N: npt.NDArray[np.int64],
        max_bytes: int,
        ids_NC: Ids,
        hashes_N: npt.NDArray[np.uint64],
    ) -> list[str | None]:
        """The id of each value that is a bid request of at most ``max_bytes`` bytes.

        None for what is not a bid request, and for whatever else the scanner declines. Where there
        is an id, the ids of the features and the xxh3_64 of the request id are written.
        """
        return self._plan.scan(values, max_bytes, times_N, ids_NC, hashes_N)
