"""The join of passed requests with outcomes."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from stream.feedback_state import JoinState
from stream.join import FeedbackJoin
from stream.pending import PendingRequest
from stream.records import Decision, Outcome, Reason, TrainingExample

TASKS = TaskSet(
    [
        Task(name="click", window_s=20),
        Task(name="cart", window_s=60),
        Task(name="deal", window_s=100),
    ]
)
LATENESS_S = 30
START = 1_700_000_000_000
DECISION = Decision("m1", 0.5, 0.4, Reason.SCORE, 1.0, 7)
Labels = dict[str, int | None]


def pending(ts: int, offset: int = 0, partition: int = 0) -> bytes:
    features = np.asarray([offset, 2, 3], np.int32)
    return PendingRequest(ts, partition, offset, "spec", DECISION, features).to_bytes()


def new_join(state: JoinState | None = None, tasks: TaskSet = TASKS) -> FeedbackJoin:
    return FeedbackJoin(tasks, 10.0, LATENESS_S, JoinState() if state is None else state)


@dataclass
class World:
    """Requests, their outcomes, and the order and time in which all of them arrive."""

    requests: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    arrivals: list[tuple[int, int, str | Outcome]] = field(default_factory=list)

    def reference(self) -> dict[str, Labels]:
        """Final labels from the full history."""
        return {
            rid: {
                task.name: int(
                    any(
                        o.request_id == rid
                        and o.task == task.name
                        and ts < o.ts <= ts + task.window_s * 100
                        for o in self.outcomes
                    )
                )
                for task in TASKS
            }
            for rid, ts in self.requests.items()
        }


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Outcomes arrive up to the lateness after they happened, often twice, in any order."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    world = World()
    for number in range(draw(st.integers(1, 6))):
        rid, ts = f"r{number}", START + rng.randrange(15_000)
        world.requests[rid] = ts
        world.arrivals.append((ts + rng.randrange(8_000), 0, rid))
    for _ in range(draw(st.integers(0, 16))):
        rid = rng.choice(list(world.requests))
        ts = world.requests[rid] + rng.choice([0, 1, 2_000, 6_000, 10_000, rng.randrange(12_000)])
        outcome = Outcome(rid, rng.choice(TASKS.names), ts)
        world.outcomes.append(outcome)
        for _copy in range(rng.choice([1, 1, 2])):
            world.arrivals.append((ts + rng.randrange(LATENESS_S * 1000), 0, outcome))
    world.arrivals.sort(key=lambda arrival: arrival[0])
    for number, arrival in enumerate(world.arrivals):
        world.arrivals[number] = (arrival[0], number, arrival[2])
    return world


def deliver(join: FeedbackJoin, arrival: tuple[int, int, str | Outcome], world: World) -> None:
    when, number, what = arrival
    join.idle(max(0, when - (join.watermark or when)))
    if isinstance(what, Outcome):
        join.outcome(what)
    else:
        join.request(what.encode(), pending(world.requests[what], number), START)


def finish(join: FeedbackJoin) -> list[TrainingExample]:
    join.idle(1_000_000)
    return join.emit()


def newest(examples: list[TrainingExample]) -> dict[str, Labels]:
    return {example.request_id: dict(example.labels) for example in examples}


@given(worlds(), st.randoms(use_true_random=False))
def test_final_labels_are_those_of_the_full_history(world: World, rng: random.Random) -> None:
    """Whatever the order, the duplicates and the cuts, the last labels equal a naive reference."""
    join = new_join()
    reference = world.reference()
    emitted: list[TrainingExample] = []
    for arrival in world.arrivals:
        deliver(join, arrival, world)
        if rng.random() < 0.5:
            emitted += check_emission(join, world, reference)
    emitted += finish(join)
    assert newest(emitted) == reference
    assert join.pending == 0
    assert [e.mature for e in emitted].count(True) == len(reference)
    for rid in reference:
        assert len([e for e in emitted if e.request_id == rid]) <= len(TASKS)


def check_emission(
    join: FeedbackJoin, world: World, reference: dict[str, Labels]
) -> list[TrainingExample]:
    """A label is 0 only when its window closed, 1 only when it happened; the rest is as sent."""
    examples = join.emit()
    assert join.watermark is not None or not examples
    for example in examples:
        ts = world.requests[example.request_id]
        assert (example.ts, example.spec, example.decision) == (ts, "spec", DECISION)
        assert example.features[1:] == [2, 3]
        for task in TASKS:
            label = example.labels[task.name]
            closed = (join.watermark or 0) > ts + task.window_s * 100 + LATENESS_S * 1000
            assert label in {None, reference[example.request_id][task.name]}
            assert label == 1 or (label == 0) == closed
    return examples


@given(worlds(), st.randoms(use_true_random=False))
def test_crashes_and_redeliveries_do_not_change_the_labels(
    world: World, rng: random.Random
) -> None:
    """A crash at any step of storing a chunk, with redelivery of it, gives the same last labels."""
    disk: dict[bytes, bytes] = {}
    emitted: list[TrainingExample] = []
    join, committed, position = new_join(), 0, 0
    crashes_left = 4
    while position < len(world.arrivals):
        position = min(len(world.arrivals), position + rng.randrange(1, 5))
        for arrival in world.arrivals[committed:position]:
            deliver(join, arrival, world)
        crash = crashes_left > 0 and rng.random() < 0.5
        examples = join.emit()
        assert isinstance(join.state, JoinState)
        changes = join.state.take_changes(join.progress())
        if crash:
            crashes_left -= 1
            steps = rng.randrange(len(examples) + len(changes) + 1)
            emitted += examples[:steps]
            store(disk, changes[: max(0, steps - len(examples))])
            join, position = new_join(JoinState(dict(disk))), committed
        else:
            emitted += examples
            store(disk, changes)
            committed = position
    emitted += finish(join)
    assert newest(emitted) == world.reference()


def store(disk: dict[bytes, bytes], changes: list[tuple[bytes, bytes | None]]) -> None:
    state = JoinState(disk)
    for key, value in changes:
        state.recover(key, value)


def test_a_finished_request_that_is_delivered_again_is_not_learned_again() -> None:
    """A redelivery after the last emission would come without its outcomes, so it is refused."""
    join = new_join()
    join.request(b"a", pending(START, 5), START)
    for task in TASKS.names:
        join.outcome(Outcome("a", task, START + 1))
    assert newest(join.emit()) == {"a": {"click": 1, "cart": 1, "deal": 1}}
    join.request(b"a", pending(START, 5), START)
    assert finish(join) == []
    assert join.counts.repeated_requests == 1


def test_a_topic_made_anew_is_not_taken_for_a_redelivery() -> None:
    """Offsets that start over with newer requests are new requests."""
    join = new_join()
    join.request(b"a", pending(START, 500), START)
    join.request(b"b", pending(START + 1, 0), START)
    join.request(b"c", pending(START + 1, 1), START)
    assert set(newest(finish(join))) == {"a", "b", "c"}


def test_an_event_after_its_window_closed_corrects_the_label() -> None:
    """An event within its window that comes after the lateness still corrects a pending request."""
    join = new_join()
    join.request(b"a", pending(START), START)
    join.idle(2_000 + LATENESS_S * 1000 + 1)
    assert newest(join.emit()) == {"a": {"click": 0, "cart": None, "deal": None}}
    join.outcome(Outcome("a", "click", START + 5))
    assert newest(join.emit()) == {"a": {"click": 1, "cart": None, "deal": None}}
    assert join.emit() == []
    assert newest(finish(join)) == {"a": {"click": 1, "cart": 0, "deal": 0}}


def test_outcomes_without_a_request_are_held_and_dropped_as_orphans() -> None:
    """An outcome without request waits for a minute of stream time, then is counted and gone."""
    join = new_join()
    join.outcome(Outcome("ghost", "click", START))
    join.request(b"a", pending(START), START)
    assert join.emit() == []
    join.idle(60_000)
    join.emit()
    assert (join.counts.held, join.counts.orphans) == (1, 0)
    join.idle(1)
    join.emit()
    assert (join.counts.held, join.counts.orphans, len(join.state)) == (1, 1, 0)


def test_what_is_not_joined_is_counted() -> None:
    """Unknown tasks, late events, duplicates and requests from the future have counters."""
    join = new_join()
    join.request(b"a", pending(START), START)
    join.request(b"a", pending(START, 1), START)
    join.request(b"b", pending(START + 2 * 86_400_000, 2), START)
    for task, ts in [("bid", 1), ("click", 0), ("click", 2_001), ("click", 2_000), ("click", 3)]:
        join.outcome(Outcome("a", task, START + ts))
    join.outcome(Outcome("a", "click", 2**64 - 1))
    counts = join.counts
    assert (counts.unknown_task, counts.late, counts.joined, counts.duplicates) == (1, 3, 1, 1)
    assert (counts.requests, counts.repeated_requests, counts.future_requests) == (1, 1, 1)
    assert join.watermark == START


