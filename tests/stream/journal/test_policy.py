"""A policy and its journal: whatever was called, the same calls give the same decisions."""

import contextlib
import inspect
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact.manifest import AutoEvidence
from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.journal.policy import JournaledPolicy
from stream.journal.recorder import Recorder
from stream.messages import FleetState, Spending, read_state, write_state
from stream.messages.journal import BatchDecided, Run, read_entries
from stream.policy import Decisions, Policy, PolicyError
from stream.policy.fleet.mixer import Mixer
from stream.policy.scenario_index import scenario_row
from stream.reproduce.player import change_policy

GENERATOR = np.random.default_rng(5)
MOST = 60
SCORES = GENERATOR.beta(0.7, 6, (2000, 4)).astype(np.float32)
UNCERTAINTIES = GENERATOR.random((2000, 4)).astype(np.float32)
HASHES = GENERATOR.integers(0, 2**64, 2000, dtype=np.uint64)
TIMES = 1_700_000_000_000 + np.cumsum(GENERATOR.integers(-20, 60, 2000)).astype(np.int64)
ROWS = np.array([scenario_row("abx"[n % 3]) for n in range(2000)], np.int32)
PARTITIONS = np.repeat(np.arange(500) % 4, 4).astype(np.int64)

POLICY = {
    "rate": 0.6,
    "explore": 0.1,
    "direct_share": "auto",
    "scenario_path": "site.id",
    "scenarios": {"a": {"rate": 0.8}, "b": {"consumption": {"most": 0.9, "least": 0.1}}},
    "window": {"requests": 300, "seconds": 60},
}
NAMES = ("*", "a", "b", "c")
changes = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "rate": st.floats(-0.1, 1),
        "capacity": st.floats(0.5, 100),
        "explore": st.floats(0, 0.5),
        "consumption": st.just({"most": 0.95, "gain": 0.3}),
        "confidence": st.sampled_from(["optimistic", "score", "nonsense"]),
    },
)
EVIDENCE = AutoEvidence(rate=0.6, weights={}, source="own", direct_share=0.04, table=())
calls = st.one_of(
    st.tuples(st.just("decide"), st.integers(0, MOST), st.integers(0, 3000)),
    st.tuples(st.just("change"), st.sampled_from(NAMES), changes),
    st.tuples(st.just("spend"), st.sampled_from(NAMES), st.floats(0, 90), st.integers(1, 999)),
    st.tuples(st.just("evidence"), st.booleans()),
    st.tuples(st.just("assign"), st.frozensets(st.integers(0, 3))),
    st.tuples(st.just("exchange"), st.just(0.0) | st.floats(0.01, 3)),
    st.tuples(st.just("expire"), st.sampled_from(NAMES)),
    st.tuples(st.just("hold"), st.sampled_from(NAMES)),
    st.tuples(st.just("reset")),
    st.tuples(st.just("look")),
)


class Live:
    """A worker with a journal, and a neighbour that shares its state."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        given_settings = PolicySettings(**POLICY)
        self.policy = JournaledPolicy(given_settings, DEFAULT_TASKS, "me", self.recorder)
        self.neighbour = Policy(given_settings, DEFAULT_TASKS, "other")
        self.neighbour.assign({2, 3}, 4)
        self.now_ms, self.at = 1_700_000_000_000, 0
        self.decisions: list[Decisions] = []
        self.mixer, self.offset, self.now_s = Mixer(), 0, 0.0

    def decide(self, count: int, step_ms: int) -> None:
        self.now_ms += step_ms
        part = slice(self.at, self.at + count)
        self.at += count
        if count:
            self.recorder.add(BatchDecided(self.now_ms, 0, (Run(0, part.start, count, count),)))
            self.decisions.append(decide(self.policy, part, self.now_ms))
            decide(self.neighbour, part, self.now_ms)

    def exchange(self, elapsed_s: float) -> None:
        """Publish, and use what a coordinator makes of it."""
        self.now_s += elapsed_s
        for policy in (self.policy, self.neighbour):
            for summary in policy.summaries(elapsed_s):
                self.offset += 1
                self.mixer.receive(summary, self.offset, self.now_s)
                policy.acknowledge(summary.scenario, summary.sequence, self.offset)
        states: list[FleetState] = [
            read_state(*write_state(state)) for state in self.mixer.states(self.now_s, 10.0)
        ]
        for policy in (self.policy, self.neighbour):
            policy.merge(states)

    def call(self, name: str, *given: Any) -> None:
        match name, *given:
            case "decide", count, step_ms:
                self.decide(count, step_ms)
            case "change", scenario, values:
                with contextlib.suppress(PolicyError):
                    self.policy.apply_change(scenario, values)
            case "spend", scenario, spent, ts:
                self.policy.apply_spending(scenario, Spending(100.0, spent, 0, 1000, ts))
            case "evidence", there:
                self.policy.use_evidence(EVIDENCE if there else None)
            case ("look",):  # as a shadow does; it puts changes of settings in force
                self.policy.rewards(SCORES[:2], UNCERTAINTIES[:2], ROWS[:2])
            case _:
                self.tell_of_the_fleet(name, *given)

    def tell_of_the_fleet(self, name: str, *given: Any) -> None:
        match name, *given:
            case "assign", partitions:
                self.policy.assign(partitions, 4)
            case "exchange", elapsed_s:
                self.exchange(elapsed_s)
            case "expire", scenario:
                self.policy.expire(scenario)
            case "hold", scenario:
                self.policy.hold(scenario)
            case ("reset",):
                self.policy.reset_fleet()


def decide(policy: Policy, part: slice, now_ms: int) -> Decisions:
    return policy.decide(
        HASHES[part], TIMES[part], SCORES[part], UNCERTAINTIES[part],
        scenarios_N=ROWS[part], partitions_N=PARTITIONS[part], now_ms=now_ms,
    )  # fmt: skip


def same(one: Decisions, other: Decisions) -> None:
    for column in fields(Decisions):
        assert np.array_equal(
            getattr(one, column.name), getattr(other, column.name), equal_nan=True
        ), column.name


@settings(max_examples=60)
@given(st.lists(calls, max_size=25))
def test_the_calls_of_a_journal_give_the_same_decisions(sequence: list[tuple[Any, ...]]) -> None:
    """Bit for bit, whatever was called in whatever order, changes that were refused included."""
    live = Live()
    for name, *given_arguments in [*sequence, ("decide", MOST, 5)]:
        live.call(name, *given_arguments)
    again = Policy(PolicySettings(**POLICY), DEFAULT_TASKS, "me")
    decisions = iter(live.decisions)
    for entry in read_entries(live.recorder.take()):
        if isinstance(entry, BatchDecided):
            first, count = entry.runs[0].first, entry.runs[0].count
            same(next(decisions), decide(again, slice(first, first + count), entry.now_ms))
        else:
            change_policy(again, entry)
    assert next(decisions, None) is None
    assert {name: again.debt(name) for name in NAMES} == {
        name: live.policy.debt(name) for name in NAMES
    }


def test_every_call_that_changes_a_policy_is_recorded() -> None:
    """A new method of the policy is recorded, or listed here as one that need not be."""
    changes_nothing = {"live_change", "rewards", "settle"}  # but for what is stale
    by_no_worker = {"debt"}  # it makes the controller of a scenario without requests
    by_the_interceptor = {"decide"}
    methods = {
        name
        for name, member in inspect.getmembers(Policy, inspect.isfunction)
        if not name.startswith("_")
    }
    recorded = {name for name in vars(JournaledPolicy) if not name.startswith("_")}
    assert methods - recorded == changes_nothing | by_no_worker | by_the_interceptor


def test_a_journal_that_waits_for_too_long_ends() -> None:
    """Its memory is freed, and nothing is recorded after the gap."""
    recorder = Recorder(max_pending_bytes=100)
    policy = JournaledPolicy(PolicySettings(**POLICY), DEFAULT_TASKS, "me", recorder)
    assert not recorder.ended
    for _ in range(100):
        policy.reset_fleet()
    assert recorder.ended
    assert recorder.take() == b""
