import gc
import weakref
from collections.abc import Iterator

import pytest

from stream.intercept.garbage_collection import QUIET, THRESHOLDS, collect_if_quiet, tune


class Node:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    tune()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_quiet_moment_frees_cycles() -> None:
    freed = weakref.ref(Node())
    assert collect_if_quiet()
    assert freed() is None


def test_nothing_is_traversed_in_a_backlog() -> None:
    freed = weakref.ref(Node())
    backlog = [[n] for n in range(QUIET + 1_000)]
    assert not collect_if_quiet()
    assert freed() is not None
    backlog.clear()
    assert collect_if_quiet()
    assert freed() is None


@pytest.mark.parametrize("generation", [1, 2])
def test_older_generations_are_due_as_often_as_python_says(generation: int) -> None:
    node = Node()
    freed = weakref.ref(node)
    gc.collect(generation - 1)  # it is in this generation now
    del node
    times = 0
    while freed() is not None:
        assert collect_if_quiet()
        times += 1
        assert times <= 2 * THRESHOLDS[1] * THRESHOLDS[2]
    assert times >= (THRESHOLDS[1] if generation == 1 else THRESHOLDS[1] * THRESHOLDS[2] // 2)
