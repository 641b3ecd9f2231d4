"""Requests of a file (JSON Lines or Parquet, see :mod:`models.data.request_files`) as shipments.

A line is a bare bid request, or an envelope ``{"key": ..., "value": ..., "timestamp": ...}``
(recognised by ``value`` without ``imp``). A line that is neither is published unchanged, because
the filter must reject it, not the publisher. Records have the time of publishing as timestamp,
because the policy's clock follows the timestamps.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from models.data.request_files import read_requests
from trainer.traffic.publish import Shipment

SHIPMENT = 1000


def shipments(path: Path, rate: float = 0.0) -> Iterator[Shipment]:
    """Shipments of a file's records, ``rate`` per second; 0 publishes as fast as possible.

    Raises:
        RequestFileError: If the file is missing or of an unknown kind.
    """
    records = read_requests(path)
    sent = 0
    while part := list(islice(records, SHIPMENT)):
        due_s = np.arange(sent, sent + len(part)) / rate if rate > 0 else None
        yield Shipment([each.key for each in part], [each.value for each in part], due_s)
        sent += len(part)
