"""Requests of a file (JSON Lines or Parquet, see :mod:`models.data.request_files`) as shipments.

A line is a bare bid request, or an envelope ``{"key": ..., "value": ..., "timestamp": ...}``
(recognised by ``value`` without ``imp``). A line that is neither is published as it is: the
filter must reject it, not the publisher. Records carry the time of publishing: the clock of the
filter's policy is the stream's.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from models.data.request_files import read_requests
from trainer.traffic.publish import Shipment

SHIPMENT = 1000


def shipments(path: Path, rate: float = 0.0) -> Iterator[Shipment]:
    """The records of a file, at ``rate`` per second; 0 publishes without a pause.

    Raises:
        RequestFileError: If the file is missing or of no known kind.
    """
    records = read_requests(path)
    sent = 0
    while part := list(islice(records, SHIPMENT)):
        due_s = np.arange(sent, sent + len(part)) / rate if rate > 0 else None
        yield Shipment([each.key for each in part], [each.value for each in part], due_s)
        sent += len(part)
