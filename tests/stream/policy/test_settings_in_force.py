from typing import Any

import pytest

from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.policy import PolicyError
from stream.policy.settings_in_force import SettingsInForce

FILE = PolicySettings(
    rate=0.6, scenario_path="site.id", scenarios={"filed": {"rate": 0.8, "weights": {"deal": 9.0}}}
)


def in_force() -> SettingsInForce:
    return SettingsInForce(FILE, DEFAULT_TASKS)


def test_layers_override_each_other_in_order() -> None:
    """Settings < control of all < settings of the scenario < control of the scenario."""
    subject = in_force()
    subject.apply("*", {"rate": 0.5, "explore": 0.1, "weights": {"cart": 7.0}})
    subject.apply("live", {"explore": 0.2})
    found = subject.in_force
    assert (found["*"].rate, found["filed"].rate, found["live"].rate) == (0.5, 0.8, 0.5)
    assert (found["filed"].explore, found["live"].explore) == (0.1, 0.2)
    assert found["filed"].weights == {"click": 1.0, "online": 1.0, "cart": 7.0, "deal": 9.0}
    subject.apply("filed", {"rate": 0.7})
    assert subject.in_force["filed"].rate == 0.7


def test_a_live_change_can_be_reset() -> None:
    """After a reset a scenario has the settings of the file, or no name if it is not there."""
    subject = in_force()
    subject.apply("filed", {"rate": 0.1})
    subject.apply("live", {"rate": 0.1})
    subject.apply("filed", None)
    subject.apply("live", None)
    assert subject.in_force["filed"].rate == 0.8
    assert set(subject.in_force) == {"*", "filed"}


@pytest.mark.parametrize(
    ("scenario", "change", "message"),
    [
        ("*", {"rate": 1.5}, r"rate: must be less than or equal to 1 \(found 1.5\)"),
        ("*", {"rte": 0.5}, r"rte: unknown setting; known are rate"),
        ("*", {"reward": "click +"}, r"column \d+"),
        ("*", {"weights": {"sale": 1.0}}, r"weights: 'sale' is not a task"),
        ("x", {"capacity": 9.0, "consumption": {}}, r"scenario 'x'.*leave one out"),
        ("x", {"consumption": {"least": 0.9, "most": 0.1}}, r"least: 0.9 is above most"),
        ("*", {"seed": 3}, r"seed: unknown setting"),
        ("*", {"weights": {"deel": 3.0}}, r"^policy\.weights: 'deel' is not a task"),
        ("*", {"confidence": "optimistic", "kappa": "much"}, r"kappa"),
        ("*", {"reward": "funnel-value"}, r"scenario 'filed'.*must not fall"),
    ],
)
def test_an_invalid_change_is_refused_as_a_whole(
    scenario: str, change: dict[str, Any], message: str
) -> None:
    """Refused with the key and the reason, for any scenario that it would break."""
    subject = in_force()
    if "funnel" in str(change):
        subject.apply("*", {"weights": {"click": 1.0, "online": 1.0, "cart": 5.0, "deal": 20.0}})
        subject.apply("filed", {"weights": {"cart": 0.5}})
    before = dict(subject.in_force)
    with pytest.raises(PolicyError, match=message):
        subject.apply(scenario, change)
    assert dict(subject.in_force) == before
    subject.apply("*", {"rate": 0.4})
    assert subject.in_force["*"].rate == 0.4


def test_scenarios_need_a_path() -> None:
    """Without a path requests have no scenario: settings and changes that name one are refused."""
    with pytest.raises(PolicyError, match="scenario_path"):
        SettingsInForce(PolicySettings(scenarios={"a": {"rate": 0.1}}), DEFAULT_TASKS)
    with pytest.raises(PolicyError, match="scenario_path is not set"):
        SettingsInForce(PolicySettings(), DEFAULT_TASKS).apply("a", {"rate": 0.1})


def test_scenarios_with_equal_settings_share_a_valuation() -> None:
    """Valuations differ only in settings that rewards and confidence depend on."""
    subject = in_force()
    subject.apply("a", {"rate": 0.1, "explore": 0.3})
    subject.apply("b", {"kappa": 0.1})
    of = {name: subject.valuation(found) for name, found in subject.in_force.items()}
    assert of["a"] is of["*"]
    assert of["b"] is not of["*"]
    assert of["filed"] is not of["*"]
