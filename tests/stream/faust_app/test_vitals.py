"""What the probes of a Faust process report, given the state of its app."""

from typing import Any

import pytest

from models.process.health import Health
from stream.faust_app import vitals


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the transport says of an app: whether it joined, and what is idle."""
    said: dict[str, Any] = {"joined": True, "idle": {}}
    monkeypatch.setattr(vitals, "joined", lambda app: app["joined"])
    monkeypatch.setattr(vitals, "idle_partitions", lambda app: app["idle"])
    return said


def test_unready_while_rebalancing_and_without_progress(app: dict[str, Any]) -> None:
    """Each condition has its reason, which names the partition that is idle the longest."""
    health = Health("worker", vitals.CONDITIONS)
    app["joined"] = False
    vitals.update_health(app, health, excused=False)
    assert vitals.PARTITIONS in health.unready()
    app |= {"joined": True, "idle": {("t", 0): 3.0, ("t", 1): 61.0}}
    vitals.update_health(app, health, excused=False)
    health.met("broker")
    assert health.unready() == {"progress": "t[1]: none for 61 s"}
    app["idle"] = {("t", 0): 3.0, ("t", 1): 0.0}
    vitals.update_health(app, health, excused=False)
    assert health.unready() == {}


def test_a_loop_that_stands_still_is_not_alive(app: dict[str, Any]) -> None:
    """From the last look on, half a minute; before the first, as long as a start may take."""
    now = Now()
    health = Health("worker", vitals.CONDITIONS, now)
    vitals.starting(health)
    now.s = 299.0
    assert health.stalled() == {}
    vitals.update_health(app, health, excused=False)
    now.s += 31.0
    assert health.stalled().keys() == {"event loop"}


@pytest.mark.parametrize("excused", [False, True])
def test_no_progress_for_long_is_not_alive(app: dict[str, Any], *, excused: bool) -> None:
    """Unless the cause is known, such as brokers that are away: a restart would not help."""
    now = Now()
    health = Health("worker", vitals.CONDITIONS, now)
    for second in range(800):
        now.s = float(second)
        app["idle"] = {("t", 0): float(second)}
        vitals.update_health(app, health, excused=excused)
    assert (health.stalled() == {}) is excused
