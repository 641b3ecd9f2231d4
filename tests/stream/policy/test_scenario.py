from copy import deepcopy
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Extractor
from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.messages import Reason, Spending
from stream.policy import Decisions, Policy, PolicyError
from stream.policy.rate.stream_clock import StreamClock
from stream.policy.scenario_index import ScenarioIndex, scenario_feature
from tests.models.features.arbitrary import none

COUNT = 4000
NAMES = ("strict", "capped", "paced", "explored")
SETTINGS: dict[str, Any] = {
    "rate": 0.6,
    "scenario_path": "site.publisher.id",
    "scenarios": {
        "strict": {"rate": 0.95, "weights": {"deal": 90.0}},
        "capped": {"capacity": 40.0, "explore": 0.1},
        "paced": {"consumption": {"most": 0.9}},
        "explored": {"explore": 0.2, "direct_share": 0.05},
    },
}
GENERATOR = np.random.default_rng(5)
HASHES = GENERATOR.integers(0, 2**64, COUNT, dtype=np.uint64)
TIMES = np.cumsum(GENERATOR.integers(-5, 12, COUNT)).astype(np.int64)
SCORES = GENERATOR.beta(0.7, 6, (COUNT, 4)).astype(np.float32)
UNCERTAINTIES = GENERATOR.random((COUNT, 4)).astype(np.float32)


def rows_of(names: list[str]) -> npt.NDArray[np.int32]:
    """Rows of the scenario feature, read from requests as a worker reads them."""
    extractor = Extractor((scenario_feature("site.publisher.id", 0),))
    requests = [{"site": {"publisher": {"id": name}}} for name in names]
    return extractor.extract(requests, none(len(requests)))[:, 0]


WHO = GENERATOR.choice([*NAMES, "other", ""], COUNT).tolist()
ROWS = rows_of(WHO)
PARTITIONS = GENERATOR.integers(0, 3, COUNT)

#: Position in the stream and what is said to the policy there.
SAID: list[tuple[int, Any]] = [
    (700, lambda p: p.apply_change("*", {"rate": 0.8})),
    (1100, lambda p: p.apply_change("strict", {"explore": 0.3})),
    (1500, lambda p: p.apply_spending("paced", Spending(10.0, 9.9, 0, 10_000, 5000))),
    (1800, lambda p: p.apply_change("explored", {"capacity": 30.0})),
    (2300, lambda p: p.apply_change("other", {"rate": 0.1})),
    (2900, lambda p: p.apply_change("explored", None)),
]


def play(cuts: list[int], until: int = COUNT) -> list[Decisions]:
    policy = Policy(PolicySettings(**SETTINGS), DEFAULT_TASKS)
    said = dict(SAID)
    made = []
    for start, stop in pairwise(sorted({0, until, *said, *(c for c in cuts if c < until)})):
        if start in said:
            said[start](policy)
        at = slice(start, stop)
        made.append(
            policy.decide(
                HASHES[at], TIMES[at], SCORES[at], UNCERTAINTIES[at],
                scenarios_N=ROWS[at], partitions_N=PARTITIONS[at],
            )
        )  # fmt: skip
    return made


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, COUNT), max_size=40))
def test_decisions_do_not_depend_on_the_cutting(cuts: list[int]) -> None:
    """With scenarios, capacities, pacing and changes of all these, any cutting decides alike."""
    whole, cut = play([]), play(cuts)
    for column in fields(Decisions):
        one, other = (
            np.concatenate([getattr(part, column.name) for part in made]) for made in (whole, cut)
        )
        assert np.array_equal(one, other, equal_nan=True), column.name


def test_no_requests_are_no_decisions() -> None:
    """An empty step is decided like any other."""
    policy, none = Policy(PolicySettings(**SETTINGS), DEFAULT_TASKS), slice(0, 0)
    made = policy.decide(
        HASHES[none], TIMES[none], SCORES[none], UNCERTAINTIES[none], scenarios_N=ROWS[none]
    )
    assert len(made.passed_N) == len(made.reward_N) == 0


def test_every_scenario_decides_as_it_would_alone() -> None:
    """A scenario's decisions are those of a policy with its settings that sees its requests.

    Time is that of the whole stream.
    """
    time_N = StreamClock().read(TIMES)[0] + 1
    policy = Policy(PolicySettings(**SETTINGS), DEFAULT_TASKS)
    both = policy.decide(HASHES, TIMES, SCORES, UNCERTAINTIES, scenarios_N=ROWS)
    for name in ("strict", "capped", "explored"):
        at = np.array([who == name for who in WHO])
        own = PolicySettings(**{"rate": 0.6, **SETTINGS["scenarios"][name]}).model_dump()
        weights = PolicySettings().weights | own["weights"]
        alone = Policy(PolicySettings(**{**own, "weights": weights}), DEFAULT_TASKS)
        expected = alone.decide(HASHES[at], time_N[at], SCORES[at], UNCERTAINTIES[at])
        for column in fields(Decisions):
            found = getattr(both, column.name)[at]
            assert np.array_equal(found, getattr(expected, column.name)), (name, column.name)


def test_unknown_scenarios_share_the_policy_for_all() -> None:
    """Requests of scenarios without a name are decided together, and hold the rate together."""
    policy = Policy(PolicySettings(**SETTINGS), DEFAULT_TASKS)
    rows_N = rows_of([f"nobody-{n}" for n in range(COUNT)])
    decisions = policy.decide(HASHES, TIMES, SCORES, UNCERTAINTIES, scenarios_N=rows_N)
    assert 1 - decisions.passed_N.mean() == pytest.approx(0.6, abs=0.004)
    assert policy.achieved == pytest.approx(0.6, abs=0.01)


def test_ten_requests_an_hour_still_meet_their_rate() -> None:
    """Among thousands of scenarios each is within its slack of its rate, however few it has."""
    names = [f"s{n}" for n in range(2000)]
    rate = 0.7
    policy = Policy(
        PolicySettings(
            scenario_path="site.publisher.id", scenarios={name: {"rate": rate} for name in names}
        ),
        DEFAULT_TASKS,
    )
    generator = np.random.default_rng(1)
    number_N = np.minimum(generator.zipf(1.3, 20_000) - 1, len(names) - 1)
    rows_K = rows_of(names)
    passed = []
    for start in range(0, 20_000, 1000):
        at = np.arange(start, start + 1000) % COUNT
        passed.append(
            policy.decide(
                HASHES[at],
                np.arange(start, start + 1000) * 360,
                SCORES[at],
                UNCERTAINTIES[at],
                scenarios_N=rows_K[number_N[start : start + 1000]],
            ).passed_N
        )
    seen = np.bincount(number_N, minlength=len(names))
    given = np.bincount(number_N, np.concatenate(passed), minlength=len(names))
    assert np.abs(given - (1 - rate) * seen).max() <= 13.6
    rare = (seen > 0) & (seen < 50)
    assert given[rare].sum() / seen[rare].sum() == pytest.approx(1 - rate, abs=0.03)


def test_a_rare_scenario_takes_little_memory() -> None:
    """A scenario with ten requests holds room for some, not a window."""
    policy = Policy(PolicySettings(**SETTINGS), DEFAULT_TASKS)
    rows_N = rows_of(["strict"] * 10)
    policy.decide(HASHES[:10], TIMES[:10], SCORES[:10], UNCERTAINTIES[:10], scenarios_N=rows_N)
    window = policy._scenarios["strict"].controller._reward._window
    assert len(window._values) <= 128


def test_bytes_and_objects_name_the_same_scenario() -> None:
    """The compiled scanner and Python read one row; numbers and texts that say the same agree."""
    extractor = Extractor((scenario_feature("app.id", 0),))
    requests = [{"id": "r", "imp": [{}], "app": {"id": name}} for name in ("a", "7", 7, "é", "")]
    values = [orjson.dumps(request) for request in requests]
    read = extractor.scan(values, none(5), 1000)
    rows_N = extractor.extract(requests, none(5))[:, 0]
    assert rows_N.tolist() == read.ids_NC[:, 0].tolist() or not any(read.request_ids)
    index = ScenarioIndex(["7", "é", "a"])
    assert index.numbers(rows_N).tolist() == [3, 1, 1, 2, 0]


@pytest.mark.parametrize("path", ["", "imp[*].id", "site..id"])
def test_a_path_that_reaches_no_single_value_is_refused(path: str) -> None:
    """A malformed path, or one to many values, is an error that names the setting."""
    with pytest.raises(PolicyError, match=r"policy.scenario_path"):
        scenario_feature(path, 0)


def test_propensities_are_frequencies_under_a_capacity_too() -> None:
    """Over seeds, requests that would be blocked pass as often as their propensity says."""
    trained = Policy(PolicySettings(capacity=60.0, explore=0.3, direct_share=0.02), DEFAULT_TASKS)
    trained.decide(HASHES[:3000], TIMES[:3000], SCORES[:3000], UNCERTAINTIES[:3000])
    passes, expected, reasons = 0, 0.0, set()
    for seed in range(150):
        policy = deepcopy(trained)
        policy._seed = seed
        at = slice(3000, 3001)
        one = policy.decide(HASHES[at], TIMES[at], SCORES[at], UNCERTAINTIES[at])
        reasons.add(int(one.reason_N[0]))
        propensity = float(one.propensity_N[0])
        expected += propensity if one.passed_N[0] else 1.0 - propensity
        passes += int(one.passed_N[0])
    assert reasons <= {Reason.SCORE, Reason.EXPLORE, Reason.UNCERTAIN}
    assert abs(passes - expected) <= 4 * np.sqrt(max(expected, 1.0))
