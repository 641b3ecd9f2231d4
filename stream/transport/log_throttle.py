"""aiokafka's warnings, one of a kind in a while: an outage must be seen, not fill the disk.

While a topic, a leader or a replica is missing, aiokafka repeats itself up to thousands of times a
second. Lines of one kind (the same format, about the same things) are let through once in
`SELDOM_S`, the next one with the number of those left out.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

SELDOM_S: Final = 60.0
KINDS: Final = 256  # as many kinds are told apart; then all are forgotten
_LOUD: Final = (
    "client",
    "cluster",
    "conn",
    "consumer.consumer",
    "consumer.fetcher",
    "consumer.group_coordinator",
    "producer.producer",
    "producer.sender",
)


class OneInAWhile(logging.Filter):
    """Lets a line through if none of its kind came in the last `SELDOM_S`.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when the next may come, how many did not

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is shown; says how many like it were not."""
        if record.levelno < logging.WARNING:
            return True
        kind, now_s = str(record.msg), self._clock()
        next_s, left_out = self._kinds.get(kind, (0.0, 0))
        if now_s < next_s:
            self._kinds[kind] = (next_s, left_out + 1)
            return False
        if len(self._kinds) >= KINDS:
            self._kinds.clear()
        self._kinds[kind] = (now_s + SELDOM_S, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} more like it)"
            record.args = ()
        return True


_FILTER: Final = OneInAWhile()


def quiet() -> None:
    """Have the loggers of aiokafka so filtered; doing it twice changes nothing."""
    logging.getLogger("aiokafka").addFilter(_FILTER)  # its client's own
    for name in _LOUD:
        logging.getLogger(f"aiokafka.{name}").addFilter(_FILTER)
