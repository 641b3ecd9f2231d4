from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS, Task, TaskSet
from stream.policy.errors import PolicyError
from stream.policy.value.confidence import Confidence, uncertainty_columns

KINDS: list[dict[str, Any]] = [
    {"confidence": "score"},
    {"confidence": "pass-uncertain"},
    {"confidence": "optimistic", "kappa": 0.7},
    {"confidence": "probability-of-improvement", "reference": {"click": 0.6, "deal": 0.05}},
]
quads = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)


def row(values: list[float]) -> Any:
    return np.array([values], np.float32)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["confidence"])
@given(s=quads, more_s=quads, u=quads, more_u=quads)
def test_t_never_decreases_in_s_nor_in_u(
    kind: dict[str, Any], s: list[float], more_s: list[float], u: list[float], more_u: list[float]
) -> None:
    """Raising scores or uncertainties, alone or together, lowers no t and no direct rank."""
    h = Confidence(PolicySettings(**kind), DEFAULT_TASKS)
    high_s, high_u = row(s) + row(more_s), row(u) + row(more_u)
    least = h(row(s), row(u)) - 1e-6
    for t in (h(high_s, row(u)), h(row(s), high_u), h(high_s, high_u)):
        assert (t >= least).all()
    assert h.direct(high_u)[0] >= h.direct(row(u))[0] - 1e-6


def test_optimistic_adds_the_uncertainty_of_the_source() -> None:
    """Under daum, cart and deal gain kappa times click's uncertainty, the others their own."""
    settings = PolicySettings(confidence="optimistic", kappa=2.0, uncertainty_source="daum")
    h = Confidence(settings, DEFAULT_TASKS)
    t = h(row([0.1, 0.2, 0.3, 0.4]), row([0.01, 0.02, 0.5, 0.5]))
    assert t[0] == pytest.approx([0.12, 0.24, 0.32, 0.42])


def test_improvement_raises_a_doubtful_score_towards_its_reference() -> None:
    """No doubt leaves a score as it is, much doubt lifts it to the reference, never beyond."""
    settings = PolicySettings(
        confidence="probability-of-improvement",
        reference={"deal": 0.3},
        uncertainty_source="own",
    )
    h = Confidence(settings, DEFAULT_TASKS)
    lifted = [float(h(row([0, 0, 0, 0.1]), row([0, 0, 0, u]))[0, 3]) for u in (0, 0.1, 1e6)]
    # P(0.1 + 0.1 X > 0.3) for a logistic X of variance 1.
    chance = 1 / (1 + np.exp(2 * np.pi / np.sqrt(3)))
    assert lifted == pytest.approx([0.1, 0.1 + 2 * chance * 0.2, 0.3])
    above = h(row([0.9, 0.9, 0.9, 0.5]), row([1, 1, 1, 1]))
    assert above[0] == pytest.approx([0.9, 0.9, 0.9, 0.5])


def test_direct_passing_ranks_by_the_weighted_uncertainty_of_the_sources() -> None:
    """The rank is the mean of the serving uncertainties under the reward's weights."""
    weights = {"click": 1.0, "deal": 3.0}
    for source, expected in (("daum", 0.2), ("own", 0.25 * 0.2 + 0.75 * 0.6)):
        h = Confidence(PolicySettings(weights=weights, uncertainty_source=source), DEFAULT_TASKS)
        assert h.direct(row([0.2, 0.9, 0.9, 0.6]))[0] == pytest.approx(expected)


def test_sources_resolve_to_columns() -> None:
    """Presets speak of the tasks that are there; a mapping may name any two tasks."""
    assert uncertainty_columns("daum", DEFAULT_TASKS).tolist() == [0, 1, 0, 0]
    assert uncertainty_columns("own", DEFAULT_TASKS).tolist() == [0, 1, 2, 3]
    assert uncertainty_columns({"deal": "cart"}, DEFAULT_TASKS).tolist() == [0, 1, 2, 2]
    sales = TaskSet([Task(name="view", window_s=1), Task(name="deal", window_s=1)])
    assert uncertainty_columns("daum", sales).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"uncertainty_source": {"deal": "clik"}}, "uncertainty_source: 'clik' is not a task"),
        ({"uncertainty_source": {"sale": "click"}}, "uncertainty_source: 'sale' is not a task"),
        ({"reference": {"sale": 0.1}}, "reference: 'sale' is not a task"),
        ({"confidence": "probability-of-improvement"}, "reference: .* needs the score"),
        ({"weights": {"deal": 0.0}}, "weights: all are zero"),
    ],
)
def test_unusable_settings_are_named(kind: dict[str, Any], message: str) -> None:
    """An error names the key, the offender and what would be right."""
    with pytest.raises(PolicyError, match=rf"policy\.{message}"):
        Confidence(PolicySettings(**kind), DEFAULT_TASKS)


def test_an_unknown_preset_is_named() -> None:
    """A preset that does not exist is refused with those that do."""
    with pytest.raises(PolicyError, match="'paper' is not known; use auto, own, daum"):
        uncertainty_columns("paper", DEFAULT_TASKS)
