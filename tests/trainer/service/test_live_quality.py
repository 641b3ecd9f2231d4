"""Live quality and label maturity as the daemon reports them."""

import time
from pathlib import Path

import pytest

from models.settings import Settings
from tests.trainer.quality.test_run import TASKS, artifact, fill
from trainer.pipeline.incumbent import Incumbent
from trainer.quality.figures import Quality
from trainer.service.live_quality import LiveQuality, drifted
from trainer.service.maturity import Maturity, maturity
from trainer.service.metrics import TrainerMetrics
from trainer.store.windows import AttributionWindows

__all__ = ["artifact"]
DAY_MS = 86_400_000


class Live:
    """A live quality of a store, with what it reported."""

    def __init__(self, folder: Path, model: Path, watermark_ms: int | None) -> None:
        base = Settings().override(
            {
                "trainer.store": str(folder / "store"),
                "trainer.quality_rows": 4_000,
                "model.artifact": str(model),
                "model.registry": str(folder / "registry"),
                "policy.weights": {"click": 1.0},
                "policy.scenario_path": "site.id",
                "policy.scenarios": {"shop": {"rate": 0.5}},
                "tasks": [task.model_dump() for task in TASKS],
            }
        )
        self.metrics = TrainerMetrics()
        self.alarms: list[tuple[str, str | None]] = []
        self.quality = LiveQuality(
            base,
            Incumbent(base),
            self.metrics,
            time.time,
            lambda: watermark_ms,
            lambda version, drift: self.alarms.append((version, drift)),
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def test_figures_of_a_store_are_exported(tmp_path: Path, artifact: Path) -> None:
    """Calibration, delays, value, and no alarm; the temporary folder is gone."""
    live = Live(tmp_path, artifact, fill(tmp_path / "store", shift=0))
    await live.quality.measure()
    assert live.alarms == [("v1", None)]
    assert live.sample("weir_drift_alarm") == 0
    calibration = live.sample("weir_quality_calibration", task="click")
    assert calibration == pytest.approx(1.0, abs=0.05)
    assert live.sample("weir_quality_delay_seconds", task="click", quantile="0.5") == 60
    assert live.sample("weir_quality_info", version="v1") == 1
    for scenario, share in (("shop", 1 / 3), ("*", 2 / 3)):
        passed = live.sample("weir_quality_scenario_passed_share", scenario=scenario)
        assert passed == pytest.approx(share, abs=0.01)
        found = live.sample("weir_quality_scenario_calibration", scenario=scenario, task="click")
        assert found == pytest.approx(1.0, abs=0.07)
    assert (live.sample("weir_quality_timestamp_seconds") or 0) > time.time() - 60
    assert not list((tmp_path / "store" / "scratch").iterdir())


async def test_drift_is_an_alarm(tmp_path: Path, artifact: Path) -> None:
    """Named with its feature."""
    live = Live(tmp_path, artifact, fill(tmp_path / "store", shift=3))
    await live.quality.measure()
    ((version, drift),) = live.alarms
    assert version == "v1"
    assert drift is not None
    assert "of site" in drift
    assert live.sample("weir_drift_alarm") == 1
    assert (live.sample("weir_drift_psi", feature="site") or 0) > 0.25


async def test_a_process_that_fails_is_named(tmp_path: Path, artifact: Path) -> None:
    """A store that is not there: the error has the end of the process's output."""
    live = Live(tmp_path, artifact, 1_790_000_000_000)
    with pytest.raises(RuntimeError, match=r"ended with status 1: .*store"):
        await live.quality.measure()
    assert live.alarms == []


async def test_nothing_is_measured_before_the_first_request(tmp_path: Path, artifact: Path) -> None:
    """Without a watermark there is nothing to join."""
    live = Live(tmp_path, artifact, None)
    await live.quality.measure()
    assert live.sample("weir_quality_timestamp_seconds") == 0


def test_what_has_drifted_most_is_named() -> None:
    """The largest of features and scores, and how many others are above the limit."""
    quality = Quality("v1", 1, {}, {}, {}, {"site": 0.3, "os": 0.1, "app": 0.4}, {"click": 0.26})
    assert drifted(quality, 0.25) == "PSI 0.40 of app and of 2 others"
    assert drifted(quality, 0.35) == "PSI 0.40 of app"
    assert drifted(quality, 0.5) is None


class Even:
    """A store with a request a second from time 0 to `end_ms`."""

    def __init__(self, end_ms: int) -> None:
        self.end_ms = end_ms

    def requests_between(self, first_ms: int, end_ms: int) -> int:
        return max(0, min(end_ms, self.end_ms) - min(first_ms, self.end_ms)) // 1000


def test_day_one_with_a_window_of_a_week() -> None:
    """After a day: clicks are final but for the last ten minutes, deals are all open, none due."""
    windows = AttributionWindows(TASKS, 1.0, 0.0)
    week = AttributionWindows(TASKS, 3 * 3600 / (7 * 86_400), 0.0)
    day = maturity(Even(DAY_MS), windows, DAY_MS)
    assert day["click"] == Maturity(known=85_800 / 86_400, open=600, due=600)
    slow = maturity(Even(DAY_MS), week, DAY_MS)["online"]
    assert slow == Maturity(known=0.0, open=86_400, due=0)
    sixth = maturity(Even(6 * DAY_MS), week, 6 * DAY_MS)["online"]
    assert (sixth.known, sixth.due) == (0.0, 0)
    seventh = maturity(Even(7 * DAY_MS), week, 7 * DAY_MS)["online"]
    assert (seventh.known, seventh.due) == (0.0, 86_400)


def test_maturity_of_an_empty_store() -> None:
    """Nothing known, nothing open."""
    found = maturity(Even(0), AttributionWindows(TASKS, 1.0, 0.0), 1_790_000_000_000)
    assert found["click"] == Maturity(0.0, 0, 0)
