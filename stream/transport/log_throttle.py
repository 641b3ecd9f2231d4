"""Throttles repeated warnings of aiokafka, so that an outage is visible but does not fill the disk.

While a topic, a leader or a replica is missing, aiokafka repeats a warning up to thousands of times
a second. Records with the same format string are logged once in `INTERVAL_S`, together with the
number of records that were suppressed since.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

INTERVAL_S: Final = 60.0
MAX_FORMATS: Final = 256  # format strings that are tracked; then all are forgotten
_LOGGERS: Final = (
    "client",
    "cluster",
    "conn",
    "consumer.consumer",
    "consumer.fetcher",
    "consumer.group_coordinator",
    "producer.producer",
    "producer.sender",
)


class RepeatFilter(logging.Filter):
    """Passes a record if none with its format string passed in the last `INTERVAL_S`.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._formats: dict[str, tuple[float, int]] = {}  # when the next may pass, how many did not

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes; adds to it how many were suppressed before."""
        if record.levelno < logging.WARNING:
            return True
        form, now_s = str(record.msg), self._clock()
        next_s, suppressed = self._formats.get(form, (0.0, 0))
        if now_s < next_s:
            self._formats[form] = (next_s, suppressed + 1)
            return False
        if len(self._formats) >= MAX_FORMATS:
            self._formats.clear()
        self._formats[form] = (now_s + INTERVAL_S, 0)
        if suppressed:
            record.msg = f"{record.getMessage()} (and {suppressed} more like it)"
            record.args = ()
        return True


_FILTER: Final = RepeatFilter()


def throttle_client_logs() -> None:
    """Add the filter to the loggers of aiokafka; a second call changes nothing."""
    logging.getLogger("aiokafka").addFilter(_FILTER)  # the logger of its client
    for name in _LOGGERS:
        logging.getLogger(f"aiokafka.{name}").addFilter(_FILTER)
