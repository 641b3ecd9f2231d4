"""A policy under hostile changes, reports and states: each is refused, or harmless."""

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import bounds
from models.settings import PolicySettings, ScenarioSettings
from models.tasks import DEFAULT_TASKS
from stream.messages import (
    FleetState,
    Spending,
    read_change,
    read_scenario,
    read_spending,
    read_state,
    read_summary,
    write_state,
    write_summary,
)
from stream.messages.parsing import RecordError
from stream.policy import Policy, PolicyError
from stream.policy.scenario_index import scenario_row

NAMES = ("*", "a", "b", "c")
COUNT = 40
GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.beta(0.7, 6, (COUNT, 4)).astype(np.float32)
UNCERTAINTIES = GENERATOR.random((COUNT, 4)).astype(np.float32)
HASHES = GENERATOR.integers(0, 2**64, COUNT, dtype=np.uint64)
ROWS = np.array([scenario_row(NAMES[1 + n % 3]) for n in range(COUNT)], np.int32)

odd = [0, 1, -1, 0.5, 1e-320, 5e-324, 1e8, 1e18, 1e308, -1e308, 2**63, 10**400, 1000]
numbers = st.one_of(st.sampled_from(odd), st.floats(), st.integers())
scalars = st.one_of(numbers, st.none(), st.booleans(), st.sampled_from(["inf", "nan", "", "score"]))
rewards = st.sampled_from(
    ["weighted-sum", "funnel-value", "deal * 20", "1 / 0 * click", "exp(exp(exp(click * 9)))",
     "+".join(["click"] * 150), "+".join(["click"] * 1000), "(" * 60, "log(click - 2) ** 0.5",
     "9" * 900, "1e999", "-" * 30 + "click", "min(" * 20 + "click" + ",cart)" * 20]
)  # fmt: skip
tables = st.dictionaries(
    st.sampled_from(["click", "cart", "deal", "sale", "least", "most", "gain"]), scalars, max_size=4
)
changes = st.dictionaries(
    st.sampled_from([*ScenarioSettings.model_fields, "seed", "nonsense"]),
    st.one_of(scalars, rewards, tables),
    max_size=4,
).filter(bool) | st.fixed_dictionaries(
    {},
    optional={
        "rate": st.floats(0, 1),
        "slack": st.floats(1, bounds.MAX_SLACK),
        "capacity": st.floats(bounds.MIN_CAPACITY, bounds.MAX_CAPACITY),
        "explore": st.floats(0, 1),
        "direct_share": st.floats(0, 1),
        "kappa": st.floats(0, bounds.MAX_KAPPA),
        "reward": rewards,
        "weights": st.dictionaries(
            st.sampled_from(DEFAULT_TASKS.names),
            st.floats(-bounds.MAX_WEIGHT, bounds.MAX_WEIGHT),
        ),
        "confidence": st.sampled_from(["pass-uncertain", "optimistic", "score"]),
    },
)
reports = st.builds(
    lambda *values: json.dumps(
        dict(zip(("budget", "spent", "start", "end", "ts"), values, strict=True))
    ).encode(),
    *[numbers | st.integers(0, bounds.MAX_TIME_MS)] * 5,
)


@st.composite
def fleet_states(draw: st.DrawFn) -> FleetState:
    rewards = draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6))
    rewards_K = np.unique(np.array(rewards, np.float32))
    above = draw(
        st.lists(st.floats(0, 1, width=32), min_size=len(rewards_K), max_size=len(rewards_K))
    )
    above_K = np.array([*sorted(above[1:], reverse=True), 0.0][: len(rewards_K)], np.float32)
    debts = st.floats(-bounds.MAX_DEBT, bounds.MAX_DEBT)
    speeds = st.floats(0, bounds.MAX_PER_SECOND) | st.sampled_from([5e-324, 1e-320, 1e-6])
    return FleetState(
        draw(st.sampled_from(NAMES)),
        draw(st.integers(0, 5) | st.just(bounds.MAX_OFFSET)),
        draw(st.integers(0, bounds.MAX_WORKERS)),
        draw(speeds),
        draw(debts),
        draw(debts),
        rewards_K,
        above_K,
    )


acts = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(NAMES), changes),
    st.tuples(st.just("reset"), st.sampled_from(NAMES)),
    st.tuples(st.just("spend"), st.sampled_from(NAMES), reports),
    st.tuples(st.just("merge"), fleet_states()),
    st.tuples(st.just("assign"), st.frozensets(st.integers(0, 3), max_size=4)),
    st.tuples(st.sampled_from(["hold", "expire"]), st.sampled_from(NAMES)),
    st.tuples(st.just("reset fleet")),
    st.tuples(st.just("publish")),
    st.tuples(st.just("decide"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
)


def do(policy: Policy, act: tuple[Any, ...], now: int) -> None:  # noqa: C901 - one per act
    match act:
        case ("change", scenario, change):
            policy.apply_change(scenario, read_change(json.dumps(change).encode()))
        case ("reset", scenario):
            policy.apply_change(scenario, None)
        case ("spend", scenario, report):
            policy.apply_spending(scenario, read_spending(report))
        case ("merge", state):
            policy.merge([read_state(*write_state(state))])
        case ("assign", partitions):
            policy.assign(partitions, 4)
        case ("hold", scenario):
            policy.hold(scenario)
        case ("expire", scenario):
            policy.expire(scenario)
        case ("reset fleet",):
            policy.reset_fleet()
        case ("publish",):
            for number, summary in enumerate(policy.summaries(1.0)):
                assert math.isfinite(read_summary(*write_summary(summary)).owed)
                policy.acknowledge(summary.scenario, summary.sequence, number)
        case ("decide", stamps):
            decide(policy, stamps, now)


def decide(policy: Policy, stamps: list[int], now: int) -> None:
    """Decide, and check what must hold of decisions whatever the policy is."""
    times_N = np.resize(np.array([now, *stamps], np.int64), COUNT)
    made = policy.decide(
        HASHES, times_N, SCORES, UNCERTAINTIES,
        scenarios_N=ROWS, partitions_N=np.arange(COUNT) % 4, now_ms=now,
    )  # fmt: skip
    assert np.isfinite(made.threshold_N).all()
    assert ((made.propensity_N > 0.0) & (made.propensity_N <= 1.0)).all()
    assert (made.reason_N <= 2).all()
    for name, wanted in policy.in_force.items():
        at_N = np.full(COUNT, name == "*") if name == "*" else scenario_row(name) == ROWS
        if name != "*" and wanted.capacity is None and wanted.consumption is None:
            assert made.passed_N[at_N].all() or wanted.rate > 0.0
            assert not made.passed_N[at_N].any() or wanted.rate < 1.0


@settings(deadline=None, max_examples=150)
@given(acts=st.lists(acts, max_size=25))
def test_the_policy_decides_after_any_sequence_of_calls(acts: list[tuple[Any, ...]]) -> None:
    """Refused changes leave all settings as they were; decisions go on, and are sound."""
    policy = Policy(
        PolicySettings(scenario_path="app.id", scenarios={"a": {"rate": 0.9}}), DEFAULT_TASKS, "me"
    )
    now = 1_767_225_600_000
    for act in acts:
        now += 700
        before = dict(policy.in_force)
        try:
            do(policy, act, now)
        except (RecordError, PolicyError):
            assert dict(policy.in_force) == before
        if act[0] in {"change", "merge", "spend"}:
            decide(policy, [], now)
    decide(policy, [], now)


@given(key=st.binary(max_size=600), value=st.binary(max_size=300) | reports)
def test_bytes_of_any_kind_are_read_or_refused(key: bytes, value: bytes) -> None:
    """No key and no value raises anything but what a refusal is made of."""
    for read in (
        lambda: read_scenario(key),
        lambda: read_change(value),
        lambda: read_spending(value),
        lambda: read_state(key, value),
    ):
        with contextlib.suppress(RecordError):
            read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slack": 1e308}, r"slack: .* less than or equal to 1000 \(found 1e\+308\)"),
        ({"slack": 1e8}, r"slack: .* less than or equal to 1000"),
        ({"capacity": "inf"}, r"capacity: .* less than or equal to 1000000000"),
        ({"capacity": 1e-300}, r"capacity: .* greater than or equal to 0.001"),
        ({"reward": "+".join(["click"] * 1000)}, r"reward: must have at most 2000"),
        ({"reward": "+".join(["1"] * 900)}, r"more than 400 numbers, names and signs"),
        ({"reward": "1e999"}, r"too large for a number"),
        ({"kappa": 1e300}, r"kappa: .* less than or equal to 1000000"),
        ({"weights": {"click": 1e300}}, r"weights.click: .* less than or equal to"),
        ({"weights": {f"t{n}": 1.0 for n in range(100)}}, r"weights: .* at most 32"),
        ({"reference": {"click": 1e300}}, r"reference.click: .* less than or equal to 1"),
    ],
)
def test_each_bound_is_named_on_the_topic_and_in_the_file(
    change: dict[str, Any], message: str
) -> None:
    """A value out of bounds is refused with bound and value, from the file and the topic."""
    policy = Policy(PolicySettings(), DEFAULT_TASKS)
    with pytest.raises(PolicyError, match=message):
        policy.apply_change("*", change)
    scenario = PolicySettings(scenario_path="app.id", scenarios={"a": change})
    with pytest.raises(PolicyError, match="scenario 'a'.*" + message):
        Policy(scenario, DEFAULT_TASKS)
    decide(policy, [], 1_767_225_600_000)


@pytest.mark.parametrize(
    "value",
    [b'{"a":' * 1020 + b"1" + b"}" * 1020, b"[" * 100_000, b'{"x":"' + b"y" * 70_000 + b'"}'],
)
def test_deep_and_long_values_are_refused(value: bytes) -> None:
    """Nesting of any depth and values of any length are refused by every reader."""
    for read in (read_change, read_spending, lambda raw: read_state(b"0:*", raw)):
        with pytest.raises(RecordError):
            read(value)


def test_a_long_sum_is_evaluated() -> None:
    """The longest expression that is let in can be evaluated, deep in a worker's stack too."""
    policy = Policy(PolicySettings(), DEFAULT_TASKS)
    policy.apply_change("*", {"reward": "+".join(["click"] * 200)})

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            decide(policy, [], 1_767_225_600_000)

    deep(200)


def test_scenarios_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scenario too many is refused with the fix; one that has a name can still be changed."""
    monkeypatch.setattr("stream.policy.settings_in_force.MAX_SCENARIOS", 5)
    policy = Policy(PolicySettings(scenario_path="app.id"), DEFAULT_TASKS)
    for number in range(5):
        policy.apply_change(f"s{number}", {"rate": 0.1})
    with pytest.raises(PolicyError, match=r"5 scenarios have a name .* reset one"):
        policy.apply_change("s5", {"rate": 0.1})
    policy.apply_change("s1", {"rate": 0.2})
    policy.apply_change("s1", None)
    policy.apply_change("s5", {"rate": 0.1})
    assert set(policy.in_force) == {"*", "s0", "s2", "s3", "s4", "s5"}
    with pytest.raises(PolicyError, match="1 to 256 characters"):
        policy.apply_change("x" * 257, {"rate": 0.1})


def test_valuations_leave_with_the_scenarios_that_used_them() -> None:
    """However many weights were tried, what is kept is what is in force."""
    policy = Policy(PolicySettings(scenario_path="app.id"), DEFAULT_TASKS)
    for number in range(300):
        policy.apply_change("a", {"weights": {"deal": float(number)}})
        decide(policy, [], 1_767_225_600_000 + number)
    policy.apply_change("a", None)
    decide(policy, [], 1_767_225_601_000)
    assert len(policy._settings._valuations) <= 2


def test_a_change_costs_what_it_changes() -> None:
    """With thousands of scenarios a change of one renumbers none of them, and makes one."""
    policy = Policy(PolicySettings(scenario_path="app.id"), DEFAULT_TASKS)
    for number in range(3000):
        policy.apply_change(f"s{number}", {"rate": 0.1 + number / 9000})
    policy._apply_stale()
    index, scenarios = policy._scenarios_by_row, dict(policy._scenarios)
    policy.apply_change("s7", {"rate": 0.5})
    policy.apply_change("*", {"explore": 0.01})
    policy._apply_stale()
    assert policy._scenarios_by_row is index
    assert policy._scenarios == scenarios
    assert policy.in_force["s7"].rate == 0.5
    assert policy.in_force["s8"].rate == pytest.approx(0.1 + 8 / 9000)
    assert {found.explore for found in policy.in_force.values()} == {0.01}


def test_a_state_from_the_future_counts_until_it_expires() -> None:
    """A state with the greatest offset is used, within bounds; once it expires any other is."""
    policy = Policy(PolicySettings(), DEFAULT_TASKS, "me")
    policy.assign([0, 1], 2)
    decide(policy, [], 1_767_225_600_000)
    nothing = np.zeros(1, np.float32)
    claim = FleetState("*", bounds.MAX_OFFSET, 2, 1e9, 1e12, -1e12, nothing, nothing)
    assert policy.merge([claim]) == [claim]
    (own,) = policy.summaries(1.0)
    policy.acknowledge("*", own.sequence, 7)
    decide(policy, [], 1_767_225_600_100)
    late = FleetState("*", 8, 1, own.per_second, 0.0, 0.0, nothing, nothing)
    assert policy.merge([late]) == []
    assert policy.merge([FleetState("gone", 9, 1, 1.0, 0.0, 0.0, nothing, nothing)]) == []
    policy.expire("*")
    assert policy.merge([late]) == [late]


def test_a_report_of_a_budget_moves_the_rate_by_its_bounds_only() -> None:
    """Amounts and times at their bounds leave the rate between least and most."""
    policy = Policy(PolicySettings(consumption={"least": 0.2, "most": 0.7}), DEFAULT_TASKS)
    most = bounds.MAX_AMOUNT
    for budget in (-most, 5e-324, 0.0, most):
        for spent in (-most, 5e-324, 0.0, most):
            for ts in (0, 1, 9, 10, bounds.MAX_TIME_MS):
                policy.apply_spending("*", Spending(budget, spent, 0, 10, ts))
                policy.apply_spending(
                    "*", Spending(budget, spent, ts, bounds.MAX_TIME_MS + 1, ts + 1)
                )
                assert 0.2 - 1e-9 <= policy.target <= 0.7 + 1e-9
