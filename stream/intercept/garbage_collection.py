"""When the garbage collector runs in a worker: in quiet moments, not in the middle of a backlog."""

import gc
from typing import Final

#: New containers after which the collector runs in any case, for 40 ns or more for each that is
#: alive. Behind a backlog it hardly gets there: only cycles add up, and what is in flight is some
#: twenty containers per request.
THRESHOLDS: Final = (2_000_000, 20, 100)
#: With so many new containers or fewer, a run takes 2 ms at most.
QUIET: Final = 50_000


def tune() -> None:
    """Let the collector run rarely by itself, and never on the objects of the start.

    A chunk makes some twenty containers per request and drops them all, so that nearly every run of
    the collector is in vain: with Python's thresholds it takes a fifth of the decoding time, with
    100,000 new containers still 4 % of a worker's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def collect_if_quiet() -> bool:
    """Run the collector if few containers are new; call it once in a while.

    Older generations are collected with the youngest as often as the collector would do it itself.

    Returns:
        Whether it ran.
    """
    young, *older = gc.get_count()
    if young > QUIET:
        return False
    due = [count >= threshold for count, threshold in zip(older, THRESHOLDS[1:], strict=True)]
    gc.collect(2 if all(due) else 1 if due[0] else 0)
    return True
