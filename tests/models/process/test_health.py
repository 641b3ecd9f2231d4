from models.process.health import Health


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_process_is_ready_while_no_condition_is_unmet() -> None:
    """Conditions are unmet at first; a met one may become unmet again, with a reason."""
    health = Health("worker", ["broker", "model"])
    assert health.unready() == {"broker": "not yet", "model": "not yet"}
    health.met("broker")
    health.met("model")
    assert health.unready() == {}
    health.unmet("broker", "no answer for 60 s")
    assert health.unready() == {"broker": "no answer for 60 s"}


def test_an_activity_is_stalled_when_its_heartbeat_is_older_than_its_limit() -> None:
    """Each activity has its own limit; exactly at the limit it is not stalled yet."""
    clock = Clock()
    health = Health("worker", [], clock)
    health.beat("event loop", 30.0)
    health.beat("progress", 100.0)
    clock.now_s += 30.0
    assert health.stalled() == {}
    clock.now_s += 1.0
    assert health.stalled() == {"event loop": 31.0}
    health.beat("event loop", 30.0)
    assert health.stalled() == {}


def test_metrics_have_readiness_conditions_and_heartbeats() -> None:
    """A condition that was never declared is no metric, but makes the process unready."""
    clock = Clock()
    health = Health("trainer", ["broker"], clock)
    health.met("broker")
    health.unmet("disk", "full")
    health.beat("consuming", 60.0)
    clock.now_s += 7.0
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in health.collect()
        for sample in metric.samples
    }
    assert samples == {
        ("weir_ready", "trainer"): 0.0,
        ("weir_ready_condition", "trainer", "broker"): 1.0,
        ("weir_heartbeat_age_seconds", "trainer", "consuming"): 7.0,
    }
