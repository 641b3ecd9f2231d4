import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import PartitionState
from stream.policy.fleet.partition_debt import PartitionDebts
from stream.policy.fleet.view import FleetView

NONE = np.empty(0, np.float32)


class Owner:
    """The debts of a worker beside the states that it has received, as in a scenario."""

    def __init__(self, name: str, topic: list[PartitionState]) -> None:
        self.name, self._topic, self._read = name, topic, 0
        self._debts, self._fleet = PartitionDebts(), FleetView()

    def assign(self, *partitions: int) -> None:
        self._debts.assign(frozenset(partitions), self._fleet.latest)

    def decide(self, partition: int, passed: list[bool], start: int = 0) -> None:
        count = len(passed)
        times_N = start + np.arange(count)
        self._debts.record(np.full(count, partition), times_N, np.array(passed, np.bool_), 0.25)

    def publish(self) -> None:
        for update in self._debts.updates(1.0):
            state = PartitionState(
                "*", update.partition, update.debt, update.per_second, NONE, self.name,
                update.generation,
            )  # fmt: skip
            self._topic.append(state)

    def receive(self) -> None:
        for state in self._topic[self._read :]:
            self._fleet.merge(state)
            if state.worker != self.name:
                self._debts.receive(state.partition, state.debt, state.generation)
        self._read = len(self._topic)


def published(topic: list[PartitionState]) -> float:
    """Debt of the one partition, as any reader of the topic has it."""
    view = FleetView()
    for state in topic:
        view.merge(state)
    latest = view.latest(0)
    return latest.debt if latest is not None else 0.0


verdicts = st.lists(st.booleans(), max_size=30)


@given(
    generations=st.lists(
        st.tuples(verdicts, st.booleans(), verdicts, st.booleans()), min_size=1, max_size=6
    )
)
def test_no_debt_is_lost_or_counted_twice_from_owner_to_owner(
    generations: list[tuple[list[bool], bool, list[bool], bool]],
) -> None:
    """Late updates, late reads, and an owner that first reads of its successor: all debt counts."""
    topic: list[PartitionState] = []
    two = [Owner("a", topic), Owner("b", topic)]
    expected = 0.0
    previous: Owner | None = None
    for number, (early, publishes, late, reads_first) in enumerate(generations):
        now = two[number % 2]
        now.receive()
        now.assign(0)
        if previous is not None and not reads_first:
            previous.assign()
        now.decide(0, [*early, False])
        expected += sum(0.25 - passed for passed in [*early, False])
        if publishes:
            now.publish()
            if previous is not None:
                previous.receive()
        if previous is not None:
            previous.assign()
        now.decide(0, late)
        expected += sum(0.25 - passed for passed in late)
        now.publish()
        previous = now
    for owner in two:
        owner.receive()
    assert published(topic) == pytest.approx(expected)


def test_the_final_state_of_the_previous_owner_counts_when_it_arrives_late() -> None:
    """What an owner decides after its successor has started is in the successor's next update."""
    topic: list[PartitionState] = []
    first, second = Owner("a", topic), Owner("b", topic)
    first.assign(0)
    first.decide(0, [True] * 10)
    first.publish()
    second.receive()
    first.decide(0, [True] * 4)
    second.assign(0)
    second.decide(0, [False] * 8)
    second.publish()
    first.assign()
    first.publish()
    assert published(topic) == -7.5 + 2.0
    second.receive()
    second.decide(0, [False] * 4)
    second.publish()
    first.receive()
    assert published(topic) == -10.5 + 3.0


def test_a_backlog_counts_as_the_traffic_that_it_was() -> None:
    """Requests per second are those of event time, averaged with the previous owner's figure."""
    topic = [PartitionState("*", 0, 0.0, 100.0, NONE, "a", 1)]
    successor = Owner("b", topic)
    successor.receive()
    successor.assign(0)
    for start in range(0, 10_000, 5000):
        successor.decide(0, [False] * 5000, start)
        successor.publish()
    assert topic[-2].per_second == pytest.approx((1000.0 + 100.0) / 2, rel=0.01)
    assert topic[-1].per_second == pytest.approx((1000.0 + 550.0) / 2, rel=0.01)
