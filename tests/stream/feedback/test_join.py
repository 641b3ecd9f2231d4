"""The join of passed requests with outcomes."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from stream.feedback.early_outcomes import EARLY_PART
from stream.feedback.join import FeedbackJoin
from stream.feedback.pending import PROGRESS_KEY, PendingRequest, Progress
from stream.feedback.table import JoinState
from stream.messages import Decision, Outcome, Reason, TrainingExample

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
    join.advance(max(0, when - (join.watermark or when)))
    if isinstance(what, Outcome):
        join.add_outcome(what)
    else:
        join.add_request(what.encode(), pending(world.requests[what], number), START)


def finish(join: FeedbackJoin) -> list[TrainingExample]:
    join.advance(1_000_000)
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
    join.add_request(b"a", pending(START, 5), START)
    for task in TASKS.names:
        join.add_outcome(Outcome("a", task, START + 1))
    assert newest(join.emit()) == {"a": {"click": 1, "cart": 1, "deal": 1}}
    join.add_request(b"a", pending(START, 5), START)
    assert finish(join) == []
    assert join.counts.repeated_requests == 1


def test_a_topic_made_anew_is_not_taken_for_a_redelivery() -> None:
    """Offsets that start over with newer requests are new requests."""
    join = new_join()
    join.add_request(b"a", pending(START, 500), START)
    join.add_request(b"b", pending(START + 1, 0), START)
    join.add_request(b"c", pending(START + 1, 1), START)
    assert set(newest(finish(join))) == {"a", "b", "c"}


def test_an_event_after_its_window_closed_corrects_the_label() -> None:
    """An event within its window that comes after the lateness still corrects a pending request."""
    join = new_join()
    join.add_request(b"a", pending(START), START)
    join.advance(2_000 + LATENESS_S * 1000 + 1)
    assert newest(join.emit()) == {"a": {"click": 0, "cart": None, "deal": None}}
    join.add_outcome(Outcome("a", "click", START + 5))
    assert newest(join.emit()) == {"a": {"click": 1, "cart": None, "deal": None}}
    assert join.emit() == []
    assert newest(finish(join)) == {"a": {"click": 1, "cart": 0, "deal": 0}}


def test_outcomes_without_a_request_are_held_and_dropped_as_orphans() -> None:
    """An outcome without request waits for a minute of stream time, then is counted and gone."""
    join = new_join()
    join.add_outcome(Outcome("ghost", "click", START))
    join.add_request(b"a", pending(START), START)
    assert join.emit() == []
    join.advance(60_000)
    join.emit()
    assert (join.counts.held, join.counts.orphans) == (1, 0)
    join.advance(1)
    join.emit()
    assert (join.counts.held, join.counts.orphans, len(join.state)) == (1, 1, 0)


def test_what_is_not_joined_is_counted() -> None:
    """Unknown tasks, late events, duplicates and requests from the future have counters."""
    join = new_join()
    join.add_request(b"a", pending(START), START)
    join.add_request(b"a", pending(START, 1), START)
    join.add_request(b"b", pending(START + 2 * 86_400_000, 2), START)
    for task, ts in [("bid", 1), ("click", 0), ("click", 2_001), ("click", 2_000), ("click", 3)]:
        join.add_outcome(Outcome("a", task, START + ts))
    join.add_outcome(Outcome("a", "click", 2**64 - 1))
    counts = join.counts
    assert (counts.unknown_task, counts.late, counts.joined, counts.duplicates) == (1, 3, 1, 1)
    assert (counts.requests, counts.repeated_requests, counts.future_requests) == (1, 1, 1)
    assert join.watermark == START


def test_one_request_far_ahead_closes_nothing() -> None:
    """A request a year ahead is refused; one that is within the clock's day moves time little."""
    join = new_join()
    join.add_request(b"a", pending(START, 0), START)
    join.add_request(b"future", pending(START + 365 * 86_400_000, 1), START)
    assert join.counts.future_requests == 1
    now = START + 86_400_000  # the wall clock is a day later, as in a replay
    join.add_request(b"jump", pending(now, 2), now)
    assert join.watermark == START
    assert join.emit() == []
    join.add_outcome(Outcome("a", "deal", START + 9_000))
    for number in range(40):
        join.add_request(b"n%d" % number, pending(START + number, 3 + number), now)
    join.advance(1_000_000)
    assert newest(join.emit())["a"] == {"click": 0, "cart": 0, "deal": 1}


def test_a_stored_time_ahead_of_the_clock_is_taken_back() -> None:
    """A watermark of next year, however it came to be stored, does not expire what comes."""
    state = JoinState({PROGRESS_KEY: Progress(START + 365 * 86_400_000).to_bytes()})
    join = new_join(state)
    join.add_request(b"a", pending(START + 1), START + 1)
    assert join.watermark == START + 1
    join.add_outcome(Outcome("a", "click", START + 2))
    join.add_outcome(Outcome("a", "cart", START + 2))
    join.add_outcome(Outcome("a", "deal", START + 2))
    assert newest(join.emit())["a"]["click"] == 1


def test_requests_whose_windows_have_all_closed_are_not_taught_as_negatives() -> None:
    """A request that comes after its last window, or without a clock, is refused and counted."""
    join = new_join()
    join.add_request(b"a", pending(START, 0), START)
    join.add_request(b"old", pending(START - 40_001, 1), START)
    join.add_request(b"none", pending(0, 2), START)
    join.add_request(b"in time", pending(START - 40_000, 3), START)
    assert join.counts.past_requests == 2
    assert set(newest(finish(join))) == {"a", "in time"}


def test_requests_stored_for_other_tasks_wait_until_the_settings_are_mended() -> None:
    """Tasks that were changed by mistake lose nothing; nothing is taught with the wrong labels."""
    state = JoinState()
    join = new_join(state)
    join.add_request(b"a", pending(START), START)
    join.add_outcome(Outcome("a", "deal", START + 1))
    join.add_outcome(Outcome("early", "deal", START + 1))
    state.take_changes(join.progress())
    other = new_join(state, TaskSet([Task(name="deal", window_s=20)]))
    assert (other.other_tasks, other.pending) == (1, 1)
    other.add_outcome(Outcome("a", "deal", START + 2))
    other.advance(30_000)
    assert other.emit() == []
    assert (other.counts.unknown_task, other.counts.orphans) == (1, 1)
    state.take_changes(other.progress())
    again = new_join(state)
    assert again.other_tasks == 0
    assert newest(finish(again)) == {"a": {"click": 0, "cart": 0, "deal": 1}}


def test_requests_stored_for_other_tasks_leave_when_their_windows_closed() -> None:
    """They are counted as expired, and their memory is free again."""
    state = JoinState()
    new_join(state).add_request(b"a", pending(START), START)
    other = new_join(state, TaskSet([Task(name="deal", window_s=20)]))
    other.add_request(b"b", pending(START + 1), START)
    assert newest(finish(other)) == {"b": {"deal": 0}}
    assert (other.counts.expired, other.pending, other.other_tasks, other.held_bytes) == (
        1,
        0,
        0,
        0,
    )


def test_outcomes_without_a_request_are_bounded_by_bytes() -> None:
    """A flood of outcomes for ids of 4 KB keeps to its part; the newest are held."""
    budget = 4_000_000
    join = FeedbackJoin(TASKS, 10.0, LATENESS_S, JoinState(), budget)
    for number in range(1_000):
        join.add_outcome(Outcome("é" * 1_000 + str(number), "click", START))
    assert join.held_bytes <= budget * EARLY_PART
    assert join.counts.orphans == 1_000 - len(join.state)
    assert ("é" * 1_000 + "999").encode() in join.state
    join.add_request("é".encode() * 1_000 + b"999", pending(START - 1), START)
    assert join.counts.joined == 1


@pytest.mark.parametrize("key", [b"", b"\x00", b"k" * 5_000, b"\xff"])
def test_keys_out_of_bounds_change_nothing(key: bytes) -> None:
    """Least of all the key of the join's own progress."""
    join = new_join()
    with pytest.raises(ValueError, match=r"request_id|decode"):
        join.add_request(key, pending(START), START)
    assert (len(join.state), join.watermark) == (0, None)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1_500, 60_000))
def test_under_a_budget_the_kept_have_the_labels_of_the_full_history(
    seed: int, budget: int
) -> None:
    """Whatever fits ends with the labels that a join without bounds gives it, across restarts."""
    rng = random.Random(seed)
    state, emitted, wanted = JoinState(), [], []
    join = FeedbackJoin(TASKS, 10.0, LATENESS_S, state, budget)
    free = new_join()
    for number in range(300):
        ts = START + number * 200
        key = b"r%d" % number
        for one in (join, free):
            one.add_request(key, pending(ts, number), ts)
        for _ in range(rng.choice([0, 0, 1, 3])):
            request = rng.randrange(max(0, number - 60), number + 1)
            at = START + request * 200 + rng.choice([1, 500, 5_000, 9_000])
            outcome = Outcome(f"r{request}", rng.choice(TASKS.names), at)
            join.add_outcome(outcome)
            free.add_outcome(outcome)
        assert join.sampler.held_bytes <= budget
        if rng.random() < 0.2:
            emitted += join.emit()
            wanted += free.emit()
        if rng.random() < 0.02:
            emitted += join.emit()
            state.take_changes(join.progress())
            counts = join.counts
            join = FeedbackJoin(TASKS, 10.0, LATENESS_S, JoinState(dict(state)), budget, counts)
            assert isinstance(join.state, JoinState)
            state = join.state
    emitted += finish(join)
    wanted += finish(free)
    kept, reference = newest(emitted), newest(wanted)
    assert kept == {rid: reference[rid] for rid in kept}
    counts = join.counts
    left_out = counts.left_out_requests + counts.overflown_requests
    assert (len(kept), counts.requests + left_out) == (counts.requests, 300)
    assert (join.pending, join.sampler.held_bytes) == (0, 0)
    assert all(example.weight in {2.0**n for n in range(11)} for example in emitted)
    if left_out == counts.overflown_requests == 0:
        assert kept == reference


def test_timers_of_finished_requests_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are final at once leave their timers for a while, not without bound."""
    monkeypatch.setattr("stream.feedback.join.STALE_TIMERS", 10)
    join = new_join()
    for number in range(100):
        key = b"r%d" % number
        join.add_request(key, pending(START + number, number), START)
        for task in TASKS.names:
            join.add_outcome(Outcome(f"r{number}", task, START + number + 1))
        assert len(join.emit()) == 1
        assert len(join._timers) <= 11
    join.add_request(b"last", pending(START + 100, 100), START)
    assert set(newest(finish(join))) == {"last"}
