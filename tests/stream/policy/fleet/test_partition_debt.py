import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import PartitionState
from stream.policy.fleet.partition_debt import PartitionBooks
from stream.policy.fleet.view import FleetView

NONE = np.empty(0, np.float32)


class Owner:
    """Books beside what their worker has heard, as in a scenario."""

    def __init__(self, name: str, topic: list[PartitionState]) -> None:
        self.name, self._topic, self._read = name, topic, 0
        self._books, self._fleet = PartitionBooks(), FleetView()
        self.true = 0.0

    def own(self, *partitions: int) -> None:
        self._books.own(frozenset(partitions), self._fleet.heard)

    def decide(self, partition: int, passed: list[bool], start: int = 0) -> None:
        count = len(passed)
        times_N = start + np.arange(count)
        self._books.account(np.full(count, partition), times_N, np.array(passed, np.bool_), 0.25)

    def say(self) -> None:
        for entry in self._books.report(1.0):
            self._topic.append(
                PartitionState(
                    "*", entry.partition, entry.due, entry.per_second, NONE, self.name, entry.tenure
                )
            )

    def hear(self) -> None:
        for state in self._topic[self._read :]:
            self._fleet.merge(state)
            if state.worker != self.name:
                self._books.hear(state.partition, state.due, state.tenure)
        self._read = len(self._topic)

    @property
    def due(self) -> float:
        return sum(entry.due for entry in self._books.report(1.0))


def said(topic: list[PartitionState]) -> float:
    """What is due on the one partition, as anyone who reads the topic has it."""
    view = FleetView()
    for state in topic:
        view.merge(state)
    state = view.heard(0)
    return state.due if state is not None else 0.0


verdicts = st.lists(st.booleans(), max_size=30)


@given(
    tenures=st.lists(
        st.tuples(verdicts, st.booleans(), verdicts, st.booleans()), min_size=1, max_size=6
    )
)
def test_nothing_is_forgotten_or_counted_twice_from_owner_to_owner(
    tenures: list[tuple[list[bool], bool, list[bool], bool]],
) -> None:
    """Late words, words heard late, and an owner that hears of its successor first: all is due."""
    topic: list[PartitionState] = []
    two = [Owner("a", topic), Owner("b", topic)]
    expected = 0.0
    before: Owner | None = None
    for number, (early, say, late, learns_first) in enumerate(tenures):
        now = two[number % 2]
        now.hear()
        now.own(0)
        if before is not None and not learns_first:
            before.own()
        now.decide(0, [*early, False])
        expected += sum(0.25 - passed for passed in [*early, False])
        if say:
            now.say()
            if before is not None:
                before.hear()
        if before is not None:
            before.own()
        now.decide(0, late)
        expected += sum(0.25 - passed for passed in late)
        now.say()
        before = now
    for owner in two:
        owner.hear()
    assert said(topic) == pytest.approx(expected)


def test_the_last_words_of_the_owner_before_count_when_they_come_late() -> None:
    """What an owner finishes after its successor has begun is in the successor's next words."""
    topic: list[PartitionState] = []
    first, second = Owner("a", topic), Owner("b", topic)
    first.own(0)
    first.decide(0, [True] * 10)
    first.say()
    second.hear()
    first.decide(0, [True] * 4)
    second.own(0)
    second.decide(0, [False] * 8)
    second.say()
    first.own()
    first.say()
    assert said(topic) == -7.5 + 2.0
    second.hear()
    second.decide(0, [False] * 4)
    second.say()
    first.hear()
    assert said(topic) == -10.5 + 3.0


def test_a_backlog_counts_as_the_traffic_that_it_was() -> None:
    """Requests per second go by the records' time, from the owner before on."""
    topic = [PartitionState("*", 0, 0.0, 100.0, NONE, "a", 1)]
    heir = Owner("b", topic)
    heir.hear()
    heir.own(0)
    for start in range(0, 10_000, 5000):
        heir.decide(0, [False] * 5000, start)
        heir.say()
    assert topic[-2].per_second == pytest.approx((1000.0 + 100.0) / 2, rel=0.01)
    assert topic[-1].per_second == pytest.approx((1000.0 + 550.0) / 2, rel=0.01)
